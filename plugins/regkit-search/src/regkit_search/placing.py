"""Which worker gets a trial."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from .structures import KEPT


@dataclass
class Place:
    """A worker: how many trials it can run at once, those that run, and the structures that are prepared there."""

    threads: int
    running: set[str] = field(default_factory=set)  # by structure, of which each has one trial at a time
    prepared: OrderedDict[str, None] = field(default_factory=OrderedDict)


class Places:
    """The workers of a search."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}

    @property
    def addresses(self) -> set[str]:
        """Where they are."""
        return set(self._places)

    def add(self, address: str, threads: int) -> None:
        """Add a worker that runs as many trials at once as it has threads."""
        self._places[address] = Place(threads)

    def remove(self, address: str) -> None:
        """Take a worker out."""
        self._places.pop(address, None)

    def has_room(self, structure: str | None) -> bool:
        """Tell whether any worker could run a trial of a structure, or of one that is not known yet."""
        return any(self._is_free(place, structure) for place in self._places.values())

    def best(self, structure: str) -> str | None:
        """Return the worker for a trial: where its structure is prepared, then the one with most room; or None."""
        free = [address for address, place in self._places.items() if self._is_free(place, structure)]
        return max(free, key=lambda address: self._merits(address, structure), default=None)

    def begin(self, address: str, structure: str) -> None:
        """A trial of a structure is sent to a worker."""
        place = self._places[address]
        place.running.add(structure)
        place.prepared[structure] = None
        place.prepared.move_to_end(structure)
        while len(place.prepared) > KEPT:  # as the worker itself does
            place.prepared.popitem(last=False)

    def end(self, address: str, structure: str) -> None:
        """A trial of a structure is done."""
        if address in self._places:
            self._places[address].running.discard(structure)

    def _is_free(self, place: Place, structure: str | None) -> bool:
        return len(place.running) < place.threads and structure not in place.running

    def _merits(self, address: str, structure: str) -> tuple[bool, int, int]:
        place = self._places[address]
        return structure in place.prepared, place.threads - len(place.running), -len(place.prepared)
