// A pass whose sums are computed elsewhere.
#include <algorithm>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "api.hpp"
#include "images.hpp"
#include "isa.hpp"
#include "job.hpp"
#include "pass.hpp"
#include "team.hpp"

// One interface for both types of the recursion.
struct exact_cntk_remote {
    virtual ~exact_cntk_remote() = default;
    virtual void describe(exact_cntk_remote_shape& shape) const = 0;
    virtual void constants(std::int32_t* emission, void* out) const = 0;
    virtual void prepare(bool columns, long first, long count, void* pixels, void* norms) = 0;
    virtual void finish(long first_row, long rows, long first_column, long columns, const double* sums,
                        const std::int32_t* near) = 0;
    virtual bool cancelled() const = 0;
};

namespace exact_cntk {
namespace {

// Pairs are finished in rectangles of this many: mirrored outputs then fill whole cache lines, and a thread's share
// takes well under a millisecond.
constexpr long finish_rows = 32, finish_columns = 64;

template <class T> class Remote final : public exact_cntk_remote {
  public:
    Remote(const exact_cntk_request& request, const Engine& engine, const double* gains)
        : request_(request),
          engine_(engine),
          job_(request_, gains),
          rows_(job_.x1.count),
          columns_(job_.symmetric ? 0 : job_.x2.count) {}

    void describe(exact_cntk_remote_shape& shape) const override {
        shape = {sizeof(T),
                 job_.shape.layers,
                 job_.problem.emissions,
                 static_cast<std::int32_t>(job_.problem.fields),
                 job_.problem.theta_from_sigma,
                 ArccosDegree<T>::value,
                 job_.problem.pooling,
                 job_.problem.reach_rows,
                 job_.problem.reach_columns,
                 job_.problem.pooling_radius};
    }

    void constants(std::int32_t* emission, void* out) const override {
        T* next = static_cast<T*>(out);
        for (const Layer<T>& layer : job_.layers) {
            *emission++ = layer.emission;
            *next++ = layer.gain;
            *next++ = layer.gain_over_pi;
            next = std::copy(std::begin(layer.arccos), std::end(layer.arccos), next);
        }
    }

    void prepare(bool columns, long first, long count, void* pixels, void* norms) override {
        const std::size_t plane = job_.shape.pixels();
        const std::size_t image_size = plane * job_.shape.channels, norms_size = plane * job_.shape.layers;
        const ImageSource& source = columns ? job_.x2 : job_.x1;
        std::vector<ImageFacts>& facts = columns && !job_.symmetric ? columns_ : rows_;
        run_team(request_.threads, count, request_.cancelled, [&](long k) {
            const Image<T> image = job_.image(source, first + k);
            std::copy_n(image.pixels(), image_size, static_cast<T*>(pixels) + k * image_size);
            image.norms(job_.units, static_cast<T*>(norms) + k * norms_size);
            facts[first + k] = image.facts();
        });
    }

    void finish(long first_row, long rows, long first_column, long columns, const double* sums,
                const std::int32_t* near) override {
        const long across = (columns + finish_columns - 1) / finish_columns;
        const long down = (rows + finish_rows - 1) / finish_rows;
        std::vector<Pair> near_pairs;
        std::mutex near_guard;
        run_team(request_.threads, across * down, request_.cancelled, [&](long t) {
            const long first_r = t / across * finish_rows, last_r = std::min(first_r + finish_rows, rows);
            const long first_c = t % across * finish_columns, last_c = std::min(first_c + finish_columns, columns);
            std::vector<Pair> near_here;
            long done = 0;
            for (long r = first_r; r < last_r; ++r)
                for (long c = first_c; c < last_c; ++c) {
                    const Pair pair = {first_row + r, first_column + c};
                    if (job_.symmetric && pair.j > pair.i) break;
                    if (!finish_pair(pair, r * columns + c, rows * columns, sums, near)) near_here.push_back(pair);
                    ++done;
                }
            job_.add_done(done);
            const std::lock_guard<std::mutex> lock(near_guard);
            near_pairs.insert(near_pairs.end(), near_here.begin(), near_here.end());
        });
        if (!near_pairs.empty() && !cancelled()) run_pairs_in_double(request_, engine_, std::move(near_pairs));
    }

    bool cancelled() const override { return job_.cancelled(); }

  private:
    bool finish_pair(const Pair& pair, long at, long pairs, const double* sums, const std::int32_t* near) const {
        const Problem<T>& problem = job_.problem;
        PairSums own = {sums + at, pairs, problem.pooling ? 2 : 1, 1 + static_cast<int>(problem.fields), {}};
        for (int k = 0; k < own.parts * near_count; ++k)
            own.near[k / near_count][k % near_count] = near[k * pairs + at];
        const ImageFacts& y = (job_.symmetric ? rows_ : columns_)[pair.j];
        return job_.finish_pair(pair.i, rows_[pair.i], pair.j, y, own);
    }

    const exact_cntk_request request_;
    const Engine& engine_;
    const Job<T> job_;
    std::vector<ImageFacts> rows_, columns_;
};

// No exception may cross into C.
template <class Work> std::int32_t guarded(const Work& work) {
    try {
        return work();
    } catch (const std::bad_alloc&) {
        return exact_cntk_no_memory;
    } catch (...) {
        return exact_cntk_failed;
    }
}

}  // namespace
}  // namespace exact_cntk

std::int32_t exact_cntk_remote_create(const exact_cntk_request* request, const double* gains,
                                      exact_cntk_remote** remote) {
    const exact_cntk::Engine* engine = exact_cntk::find_engine(request->isa);
    if (!engine) return exact_cntk_no_such_isa;
    return exact_cntk::guarded([&] {
        if (exact_cntk::computes_in_double(*request))
            *remote = new exact_cntk::Remote<double>(*request, *engine, gains);
        else
            *remote = new exact_cntk::Remote<float>(*request, *engine, gains);
        return exact_cntk_ok;
    });
}

void exact_cntk_remote_destroy(exact_cntk_remote* remote) { delete remote; }

void exact_cntk_remote_describe(const exact_cntk_remote* remote, exact_cntk_remote_shape* shape) {
    remote->describe(*shape);
}

void exact_cntk_remote_constants(const exact_cntk_remote* remote, std::int32_t* emission, void* constants) {
    remote->constants(emission, constants);
}

std::int32_t exact_cntk_remote_prepare(exact_cntk_remote* remote, std::int32_t columns, std::int64_t first,
                                       std::int64_t count, void* pixels, void* norms) {
    return exact_cntk::guarded([&] {
        remote->prepare(columns != 0, first, count, pixels, norms);
        return remote->cancelled() ? exact_cntk_cancelled : exact_cntk_ok;
    });
}

std::int32_t exact_cntk_remote_finish(exact_cntk_remote* remote, std::int64_t first_row, std::int64_t rows,
                                      std::int64_t first_column, std::int64_t columns, const double* sums,
                                      const std::int32_t* near) {
    return exact_cntk::guarded([&] {
        remote->finish(first_row, rows, first_column, columns, sums, near);
        return remote->cancelled() ? exact_cntk_cancelled : exact_cntk_ok;
    });
}
