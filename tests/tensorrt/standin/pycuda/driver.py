"""``pycuda.driver`` over a fake GPU that is this process's."""

from __future__ import annotations

from fake_gpu import FakeGpu
from fake_pycuda import FakePyCuda

GPU = FakeGpu(memory=1 << 31)
_api = FakePyCuda(GPU)
Error, MemoryError, LogicError = _api.Error, _api.MemoryError, _api.LogicError  # noqa: A001
Device, Stream, Event, event_flags = _api.Device, _api.Stream, _api.Event, _api.event_flags
init, mem_get_info, mem_alloc = _api.init, _api.mem_get_info, _api.mem_alloc
pagelocked_empty = _api.pagelocked_empty
memcpy_htod_async, memcpy_dtoh_async = _api.memcpy_htod_async, _api.memcpy_dtoh_async
