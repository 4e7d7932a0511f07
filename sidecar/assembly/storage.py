"""What keeps answers and finds them again, built from a `Config` and started.

The disk is opened first: who keeps and who finds are told of it, each with a connection of its own.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from cache.errors import CacheError
from cache.growth import ROW_BYTES
from cache.semantic import SemanticCache
from cache.stores.cells import CellStore
from cache.stores.disk import DiskStore
from cache.stores.memory import MemoryStore
from cache.stores.reader import DiskReader
from sidecar.assembly.secondlook import second_look
from sidecar.caching.builder import Builder, give_back
from sidecar.caching.indexing import Indexing
from sidecar.caching.keeper import Keeper
from sidecar.caching.persistence import Persistence
from sidecar.caching.reads import Reads
from sidecar.config.sections import Config
from sidecar.disk.sealing import cipher_of
from sidecar.encoder.batcher import Batcher
from sidecar.front.display import Display
from sidecar.process.pages import gather
from sidecar.telemetry.exposition import Exposition
from sidecar.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """The parts that other parts speak to."""

    store: MemoryStore
    index: SemanticCache
    keeper: Keeper


class _Disk(NamedTuple):
    """One store, and a reader for each thread that reads."""

    store: DiskStore
    for_callers: DiskReader
    for_index: DiskReader
    for_builder: DiskReader
    cells: CellStore | None


async def build_storage(
    config: Config,
    stack: AsyncExitStack,
    *,
    batcher: Batcher,
    encoder_id: str,
    metrics: Metrics,
    logger: logging.Logger,
    display: Display | None = None,
) -> Storage:
    """Memory, index and disk, at work; a disk that fails costs persistence, not the start.

    Raises:
        ConfigError: What weighs candidates cannot be used.
    """
    second = second_look(config, logger)
    threads = [
        ThreadPoolExecutor(1, thread_name_prefix=name) for name in ("cache-disk", "cache-read")
    ]
    for thread in threads:
        stack.callback(thread.shutdown)
    disk = None
    if config.disk.path:
        try:
            disk = await asyncio.get_running_loop().run_in_executor(
                threads[0], _opened, config, encoder_id, logger
            )
        except CacheError as fault:
            logger.warning("the cache lives in memory alone: %s", fault)
    builder = Builder(
        owner=batcher,
        reader=disk.for_builder if disk is not None else None,
        max_rows=config.semantic.max_index_bytes // ROW_BYTES,
        hook=metrics,
        cells=disk.cells if disk is not None else None,
    )
    index = SemanticCache(
        encoder_id=encoder_id,
        look=second.look,
        config=config.semantic,
        source=disk.for_index if disk is not None else None,
        on_wanted=builder.want,
    )
    store = MemoryStore(
        config.cache.max_bytes,
        config.cache_quotas(),
        on_left=display.gone if display is not None else None,
    )
    below = None
    if disk is not None:
        below = Persistence(
            disk=disk.store,
            reads=Reads(
                disk.for_callers,
                thread=threads[1],
                hook=metrics,
                budget_s=config.disk.budget_s,
            ),
            thread=threads[0],
            hook=metrics,
            keep_stale_s=config.cache.keep_stale_s,
        )
        metrics.exposition.gauge(
            "sidecar_cache_disk_bytes", "Of the disk store", lambda: disk.store.size_bytes
        )
    keeper = Keeper(
        store=store,
        indexing=Indexing(index=index, owner=batcher, hook=metrics),
        below=below,
        keep_stale_s=config.cache.keep_stale_s,
        on_void=display.void if display is not None else lambda: None,
    )
    try:
        entries = await keeper.start()
    except CacheError as fault:
        logger.warning("the kept answers could not be read: %s", fault)
    else:
        logger.info("cache restored", extra={"facts": {"entries": entries}})
    stack.push_async_callback(keeper.close)
    if disk is not None:
        stack.callback(disk.for_index.close)
        stack.callback(disk.for_builder.close)
        if disk.cells is not None:
            stack.callback(disk.cells.close)
    batcher.post(second.open)
    batcher.post(give_back)  # what opening took: 16 MB of 191
    batcher.post(partial(_gather_pages, logger))
    builder.start(index.partitions)
    stack.push_async_callback(builder.close)
    _show(store, index, metrics.exposition)
    return Storage(store, index, keeper)


def _show(store: MemoryStore, index: SemanticCache, exposition: Exposition) -> None:
    partitions = index.partitions
    exposition.gauge("sidecar_cache_entries", "Entries in memory", lambda: len(store))
    exposition.gauge("sidecar_cache_bytes", "Bytes of them", lambda: store.bytes_held)
    exposition.gauge(
        "sidecar_cache_index_bytes", "Of open partitions", lambda: partitions.bytes_held
    )
    exposition.gauge("sidecar_cache_open_partitions", "In memory", lambda: len(partitions))


def _gather_pages(logger: logging.Logger) -> None:
    """On the encoder's thread, which is the one that reads the weights."""
    logger.info("memory gathered", extra={"facts": {"large_pages": gather()}})


def _opened(config: Config, encoder_id: str, logger: logging.Logger) -> _Disk:
    path = Path(config.disk.path)
    key = config.disk.key
    store = DiskStore.open(path, encoder_id, config.disk.max_bytes, cipher_of(key))
    if store.renamed_to is not None:
        logger.warning("the kept answers are of no use here, and put aside: %s", store.renamed_to)
    reader = partial(DiskReader.open, path, encoder_id, cipher_of(key))
    cells = None
    try:
        beside = path.with_name(path.name + "-cells")
        cells = CellStore.open(beside, encoder_id, cipher_of(key))
    except CacheError as fault:
        logger.warning("large partitions are laid anew each time that they are read: %s", fault)
    return _Disk(store, reader(), reader(), reader(), cells)
