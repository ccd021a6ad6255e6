"""The plan of the real runs covers what is asked, once."""

from recording.real.plan import catalogue


def test_catalogue():
    pieces = catalogue()
    seen = [(p.family, *problem) for p in pieces.values() for problem in p.problems]
    assert len(seen) == len(set(seen)), "no problem is solved twice, as no two metrics files may hold it"
    for name in ("v-2k", "gap-2k"):
        groups = [pieces[f"{name}-{repeat}"].groups[0] for repeat in range(5)]
        assert [(group.train_images, group.repeats) for group in groups] == [(2000, (r,)) for r in range(5)]
    # What travels between machines, beside some megabytes of metrics.
    assert max(piece.state_bytes() for piece in pieces.values()) < 32e6
    for piece in pieces.values():
        blocks = piece.train_blocks()
        n = piece.train_images
        assert sum((r.stop - r.start) * (c.stop - c.start) * (2 if r != c else 1) for r, c in blocks) == n * n
        assert piece.test_chunks(10_000)[-1].stop == 10_000
