"""Pieces of a sweep: whatever workers come, go and dawdle, each is made, and hardly any twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxadv.experiments.pieces import MOST_LOSSES, Lost, Piece, Pieces, cut

EVENTS = st.lists(st.tuples(st.sampled_from(("take", "made", "lost")), st.integers(0, 4)))


def some(*cells, each=3):
    """A few pieces of each cell; the victim is the cell's first letter."""
    return [p for cell in cells for p in cut(cell, cell[0], range(2 * each), 2)]


@given(st.integers(1, 40), st.integers(1, 9))
def test_pieces_hold_each_attack_once_in_order(count, slots):
    ids = [7 * number for number in range(count)]
    pieces = cut("cell", "victim", ids, slots)
    assert [number for piece in pieces for number in piece.ids] == ids
    assert all(len(piece.ids) == slots for piece in pieces[:-1])


@given(EVENTS)
def test_each_is_made_whatever_happens(events):
    """After any events, one worker that continues makes exactly what nobody had made."""
    all_pieces = some("a", "b")
    pieces, at, made = Pieces(all_pieces), {}, set()
    losses = 0
    for what, worker in events:
        if what == "take" and worker not in at:
            piece = pieces.next(worker)
            if piece is None:
                assert set(at.values()) >= set(all_pieces) - made  # nothing waits
            else:
                assert piece not in made
                assert list(at.values()).count(piece) < 2
                at[worker] = piece
        elif what == "made" and worker in at:
            assert pieces.made(worker) == at[worker]
            made.add(at.pop(worker))
        elif what == "lost" and losses < MOST_LOSSES - 1:
            losses += at.pop(worker, None) is not None
            pieces.lost(worker)
    while pieces:
        piece = pieces.next(99)
        if piece is None:  # each is being made by two
            assert set(at.values()) >= set(all_pieces) - made
            return
        made.add(pieces.made(99))
    assert made == set(all_pieces)


def test_a_worker_stays_with_the_cell_that_it_has_compiled():
    pieces = Pieces(some("a1", "a2", "b1"))
    first = pieces.next(1)
    taken = []
    for _ in range(2):
        pieces.made(1)
        taken.append(pieces.next(1).cell)
    assert taken == [first.cell] * 2
    pieces.made(1)
    assert pieces.next(1).victim == first.victim  # then with the victim that it has loaded


def test_workers_spread_over_cells():
    pieces = Pieces(some("a", "b", "c"))
    assert {pieces.next(worker).cell for worker in range(3)} == {"a", "b", "c"}


def test_at_the_end_the_longest_under_way_is_made_twice_and_counts_once():
    pieces = Pieces(cut("cell", "victim", range(4), 2))
    slow, other = pieces.next(1), pieces.next(2)
    pieces.made(2)
    assert pieces.next(2) == slow != other
    assert pieces.next(3) is None  # two are enough
    pieces.made(2)
    assert not pieces
    pieces.lost(1)  # who was slow may go: it is made
    assert not pieces
    assert pieces.next(3) is None


def test_what_a_lost_worker_made_waits_first():
    pieces = Pieces(some("a"))
    lost = pieces.next(1)
    pieces.lost(1)
    assert pieces.next(2) == lost


def test_a_piece_that_kills_its_workers_is_named():
    pieces = Pieces([Piece("cell", "victim", (3, 5))])
    for worker in range(MOST_LOSSES - 1):
        pieces.next(worker)
        pieces.lost(worker)
    pieces.next(9)
    with pytest.raises(Lost, match="attacks 3 to 5 of cell cell"):
        pieces.lost(9)
