// The paper's algorithm as its authors released it, written again from its description: the whole tensor of one pair of
// images in device memory, entry [i][j][k][l] for pixel (i, j) of one and (k, l) of the other, and three launches a
// layer that each read and write all of it: box filter of Sigma, closed forms and products, box filter of Theta.
//
// What makes it slow is kept on purpose. Nothing is fused. Both readouts take the whole tensor. The box filter walks
// planes of one displacement, so that neighbouring threads are (SIDE + 1)·SIDE² floats apart in memory: nothing is
// coalesced, and of the (2·SIDE − 1)² blocks' threads three in four lie outside of their plane. The division by 9π is
// in double precision, as the constant is.

// Compiled for one image size: -DSIDE=32.

constexpr double NINE_PI = 9 * 3.141592653589793;

__device__ __forceinline__ int entry(int i, int j, int k, int l) { return ((i * SIDE + j) * SIDE + k) * SIDE + l; }

// target = sum over 3×3 neighbours of both pixels together. A block for each displacement, a thread for each of its
// pixels; the plane is staged in shared memory with a border of zeros.
extern "C" __global__ void box(const float* source, float* target) {
    __shared__ float plane[SIDE + 2][SIDE + 3];
    const int i = threadIdx.y, j = threadIdx.x;
    const int k = i + blockIdx.y - (SIDE - 1), l = j + blockIdx.x - (SIDE - 1);
    const bool inside = k >= 0 && k < SIDE && l >= 0 && l < SIDE;
    if (i == 0) plane[0][j + 1] = plane[SIDE + 1][j + 1] = 0.0f;
    if (j == 0) plane[i + 1][0] = plane[i + 1][SIDE + 1] = 0.0f;
    if (i == 0 && j == 0) {
        plane[0][0] = plane[0][SIDE + 1] = plane[SIDE + 1][0] = plane[SIDE + 1][SIDE + 1] = 0.0f;
    }
    plane[i + 1][j + 1] = inside ? source[entry(i, j, k, l)] : 0.0f;
    __syncthreads();
    if (!inside) return;
    float sum = 0.0f;
    for (int a = 0; a < 3; ++a) {
        for (int b = 0; b < 3; ++b) sum += plane[i + a][j + b];
    }
    target[entry(i, j, k, l)] = sum;
}

// Theta ← K_dot · Theta + K and Sigma ← K from Sigma and the norms √Sigma(x, x), √Sigma(y, y). A block for each pixel
// of x, a thread for each pixel of y.
extern "C" __global__ void relu(float* sigma, float* theta, const float* x_norms, const float* y_norms) {
    const int i = blockIdx.y, j = blockIdx.x, k = threadIdx.y, l = threadIdx.x;
    const int at = entry(i, j, k, l);
    const float norm = x_norms[i * SIDE + j] * y_norms[k * SIDE + l];
    const float rho = norm > 0.0f ? fmaxf(-1.0f, fminf(1.0f, sigma[at] / norm)) : 0.0f;
    const float angle = 3.1415927f - acosf(rho);
    const float K = (rho * angle + sqrtf(1.0f - rho * rho)) * norm / NINE_PI;
    const float K_dot = angle / NINE_PI;
    theta[at] = K_dot * theta[at] + K;
    sigma[at] = K;
}
