"""Which GPUs a process sees, in its own numbering, and which of them is its own."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qvl_preflight.devices import BAD_ORDER, NO_SLICE, REPEATED, Devices, Home, home, is_rank, visible_devices
from qvl_preflight.facts import Facts, Gpu, Launch, Slice, Torch
from qvl_preflight.unknown import Unknown

A100, T4 = "NVIDIA A100-SXM4-80GB", "Tesla T4"
GIB = 2**30


def gpu(index: int, name: str | Unknown = A100, free: int | Unknown = 80 * GIB, **fields: Any) -> Gpu:
    """A device whose UUID begins with its own digit."""
    return Gpu(
        index,
        **{
            "uuid": f"GPU-{index}{index}aa-bb{index}",
            "name": name,
            "free_bytes": free,
            "total_bytes": 80 * GIB,
            "mig": False,
            **fields,
        },
    )


def seen(gpus: tuple[Gpu, ...], setting: str | None, **env: str) -> Devices:
    """The devices under this CUDA_VISIBLE_DEVICES."""
    devices = visible_devices(Facts(gpus=gpus, env=env if setting is None else {"CUDA_VISIBLE_DEVICES": setting, **env}))
    assert isinstance(devices, Devices)
    return devices


def ordinals(devices: Devices) -> list[int]:
    """The NVML indices of what is visible, by CUDA ordinal."""
    return [device.index for device in devices.visible]


ONE, FOUR = (gpu(0),), tuple(map(gpu, range(4)))


@pytest.mark.parametrize(
    "setting", ["", " ", "-1", "1", "7,0", "none", "all", "NoDevFiles", "GPU-deadbeef", "GPU-", "gpu-00aa", " GPU-00aa", "aa-bb0", "'0'", '"0"', "[0]", "cuda:0"]
)  # fmt: skip
def test_one_gpu_is_hidden(setting: str) -> None:
    """Recorded on one H100: the runtime finds no device."""
    devices = seen(ONE, setting)
    assert devices.visible == ()
    assert devices.hidden
    assert devices.broken is None
    assert (devices.physical, devices.setting) == (ONE, setting)


@pytest.mark.parametrize(
    "setting",
    [None, "0", "0,7", " 0", "0 ", "0, 1", "00", "0,-1", "0,", "\t0", "+0", "-0", "0x0", "0abc", "0 7", "0;1", "0.5", "0-3", "GPU-0", "GPU-00aa-bb0x"],
)  # fmt: skip
def test_one_gpu_is_shown(setting: str | None) -> None:
    """The list counts up to its first entry that names no device, and a number up to its last digit: recorded on one H100."""
    devices = seen(ONE, setting)
    assert devices.visible == ONE
    assert not devices.hidden
    assert devices.broken is None
    assert devices.setting == setting


@pytest.mark.parametrize("setting", ["0,0", "0,00", "GPU-00,GPU-00aa-bb0"])
def test_a_device_named_twice_breaks_the_list(setting: str) -> None:
    """The runtime refuses the whole list ("0,0" is recorded on one H100), which is another failure than a hidden GPU."""
    devices = seen(ONE, setting)
    assert devices.broken == REPEATED
    assert devices.visible == ()


def test_no_gpus_are_not_hidden_ones() -> None:
    """Where there is nothing, nothing is hidden, whatever the setting says."""
    assert not seen((), "").hidden
    assert not seen((), "0").hidden
    assert seen((), "0").visible == ()


@pytest.mark.parametrize(
    ("setting", "order"),
    [
        pytest.param(None, [0, 1, 2, 3], id="unset: all, as they are"),
        pytest.param("2,0", [2, 0], id="the order is the list's"),
        pytest.param("3,2,1,0", [3, 2, 1, 0], id="reversed"),
        pytest.param("1", [1], id="one of several"),
        pytest.param("3,9,0", [3], id="what follows an unknown number is lost"),
        pytest.param("0,-1,1", [0], id="-1 ends the list"),
        pytest.param("0,,1", [0], id="an empty entry ends the list"),
        pytest.param("GPU-22aa-bb2,0", [2], id="a number after a UUID ends the list"),
        pytest.param("0,GPU-22aa-bb2", [0], id="a UUID after a number ends the list"),
        pytest.param("GPU-2,GPU-0", [2, 0], id="beginnings of UUIDs that fit one device"),
        pytest.param("1,GPU-,0", [1], id="a beginning that fits several devices ends the list"),
        pytest.param("GPU-9,GPU-0", [], id="a UUID that is not here ends the list"),
    ],
)
def test_several_gpus_are_renumbered(setting: str | None, order: list[int]) -> None:
    """cuda:0 is the first of the list."""
    devices = seen(FOUR, setting)
    assert ordinals(devices) == order
    assert devices.physical == FOUR


@pytest.mark.parametrize("setting", ["1,0,1", "GPU-1,GPU-0,GPU-1"])
def test_one_of_several_named_twice_breaks_the_list(setting: str) -> None:
    """However it is named."""
    assert seen(FOUR, setting).broken == REPEATED


def test_a_repetition_after_the_end_of_the_list_is_not_seen() -> None:
    """The list ends at 9; the second 0 is never read."""
    assert ordinals(seen(FOUR, "0,9,0")) == [0]


def test_unknown_gpus_are_unknown_devices() -> None:
    """The reason is that of the facts."""
    assert visible_devices(Facts(gpus=Unknown("NVML: no permission"), env={})) == Unknown("NVML: no permission")


def test_a_uuid_cannot_be_looked_up_among_unknown_uuids() -> None:
    """A device that is named by its UUID may be any of those whose UUID nobody knows: that is not a hidden GPU."""
    anonymous = (gpu(0, uuid=Unknown("not in the facts")),)
    facts = Facts(gpus=anonymous, env={"CUDA_VISIBLE_DEVICES": "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"})
    assert isinstance(visible_devices(facts), Unknown)


@pytest.mark.parametrize("setting", ["MIG-9c2b", "MIG-GPU-00aa-bb0/3/0"])
def test_a_slice_among_unknown_slices_is_not_a_hidden_gpu(setting: str) -> None:
    """Which slices a partitioned GPU has is not known, and so is what the process sees."""
    facts = Facts(gpus=(gpu(0, mig=True),), env={"CUDA_VISIBLE_DEVICES": setting})
    assert isinstance(visible_devices(facts), Unknown)


SLICES = (Slice("MIG-1aa", "A100 MIG 1g.5gb", 5 * GIB, 4 * GIB), Slice("MIG-2bb", "A100 MIG 3g.20gb", 20 * GIB, 19 * GIB))
PARTITIONED = gpu(0, mig=True, slices=SLICES)


@pytest.mark.parametrize(
    ("setting", "name", "unread"),
    [
        pytest.param(None, "A100 MIG 1g.5gb", (), id="unset: the first instance"),
        pytest.param("0", "A100 MIG 1g.5gb", (), id="the whole GPU by its number: the first instance"),
        pytest.param("MIG-2bb", "A100 MIG 3g.20gb", (), id="an instance by its UUID"),
        pytest.param("MIG-2bb,MIG-1aa", "A100 MIG 3g.20gb", (), id="two instances: a process sees the first"),
        pytest.param("MIG-1aa,MIG-x", "A100 MIG 1g.5gb", ("MIG-x",), id="an instance that is not there ends the list"),
        pytest.param("MIG-x", None, ("MIG-x",), id="only an instance that is not there"),
    ],
)
def test_one_process_sees_one_slice(setting: str | None, name: str | None, unread: tuple[str, ...]) -> None:
    """With the memory of the instance, not of the GPU."""
    devices = seen((PARTITIONED,), setting)
    assert [(device.name, device.index) for device in devices.visible] == ([(name, 0)] if name else [])
    assert all(device.total_bytes in (5 * GIB, 20 * GIB) for device in devices.visible)
    assert devices.unread == unread


def test_a_partitioned_gpu_without_slices_is_no_device() -> None:
    """MIG is on and nobody made an instance: CUDA has nothing to show."""
    devices = seen((gpu(0, mig=True, slices=()),), None)
    assert (devices.visible, devices.broken) == ((), NO_SLICE)


def test_partitioned_gpus_beside_whole_ones_are_undecided() -> None:
    """Which of them CUDA shows was not read anywhere."""
    assert isinstance(visible_devices(Facts(gpus=(PARTITIONED, gpu(1)), env={})), Unknown)


@pytest.mark.parametrize("order", ["", "pci_bus_id", "bogus"])
def test_an_order_that_is_none_breaks_cuda(order: str) -> None:
    """Recorded on an H100: error 101 from cuInit, whatever is visible."""
    devices = seen(FOUR, "1", CUDA_DEVICE_ORDER=order)
    assert (devices.visible, devices.broken) == ((), BAD_ORDER)


@pytest.mark.parametrize(
    ("setting", "unread"),
    [(None, ()), ("0,1", ()), ("0,7,1", ("7", "1")), ("0,", ("",)), ("all", ("all",)), ("0 1", ()), ("0,GPU-1", ("GPU-1",))],
)
def test_what_the_runtime_does_not_read_is_kept(setting: str | None, unread: tuple[str, ...]) -> None:
    """From the first entry that names no device."""
    assert seen(FOUR, setting).unread == unread


def test_a_mig_slice_without_any_partitioned_gpu_hides() -> None:
    """A slice that cannot be there names no device."""
    assert seen(ONE, "MIG-9c2b").hidden


@pytest.mark.parametrize(
    ("names", "env", "known"),
    [
        pytest.param((A100, A100), {}, True, id="alike: any order is the same"),
        pytest.param((A100, T4), {}, False, id="mixed: CUDA puts the fastest first, NVML goes by the bus"),
        pytest.param((A100, T4), {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, True, id="mixed, ordered by the bus"),
        pytest.param((A100, T4), {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, False, id="mixed, ordered otherwise"),
        pytest.param((T4,), {}, True, id="one device has one order"),
        pytest.param((Unknown("a"), Unknown("a")), {}, False, id="names that nobody knows are not alike"),
    ],
)
def test_whether_cudas_order_is_nvmls(names: tuple[str | Unknown, ...], env: dict[str, str], known: bool) -> None:
    """Without CUDA_DEVICE_ORDER=PCI_BUS_ID only devices of one model are surely numbered as NVML numbers them."""
    gpus = tuple(gpu(index, name) for index, name in enumerate(names))
    for setting in (None, "0"):
        assert seen(gpus, setting, **env).order_known is known


SETTINGS = st.lists(
    st.sampled_from(["0", "1", "2", "3", " 2", "03", "9", "-1", "", "none", "GPU-", "GPU-1", "GPU-33aa", "GPU-x"]) | st.text("0123 ,-GPU", max_size=4),
    max_size=6,
).map(",".join)  # fmt: skip


@given(setting=st.none() | SETTINGS, count=st.integers(0, 4))
def test_visible_devices_are_some_of_the_physical_ones(setting: str | None, count: int) -> None:
    """Whatever the setting: no device is invented, none is seen twice, and a broken list shows none."""
    gpus = FOUR[:count]
    devices = seen(gpus, setting)
    indices = ordinals(devices)
    assert len(set(indices)) == len(indices)
    assert set(devices.visible) <= set(gpus)
    assert devices.physical == gpus
    assert devices.broken is None or indices == []
    assert devices.hidden == (bool(gpus) and not indices)


# ── the GPU of this process ─────────────────────────────────────────────────────────────────────────────────────────────────────

ALONE = Launch("python", 1, 0, 0, 1)


def at_home(facts: Facts, needed_bytes: int = 0) -> Home | None:
    """Where this process belongs."""
    return home(facts, visible_devices(facts), needed_bytes)


@pytest.mark.parametrize(
    ("free", "needed", "ordinal", "why"),
    [
        pytest.param((10, 10), 0, 0, "the first GPU", id="of no particular size: the first"),
        pytest.param((10, 40, 80), 20, 1, "the first GPU with room", id="the first that has room"),
        pytest.param((20, 40), 20, 0, "the first GPU with room", id="room that is just enough"),
        pytest.param((10, 30, 20), 50, 1, "the GPU with most free memory", id="room on none: the one with most"),
        pytest.param((10,), 50, 0, "the GPU with most free memory", id="one GPU without room is still the one"),
        pytest.param((80,), 50, 0, "the only GPU", id="one GPU with room"),
    ],
)
def test_one_process_belongs_where_there_is_room(free: tuple[int, ...], needed: int, ordinal: int, why: str) -> None:
    """A plain process takes the first device that holds the model."""
    gpus = tuple(gpu(index, free=gib * GIB) for index, gib in enumerate(free))
    assert at_home(Facts(gpus=gpus, env={}, launch=ALONE), needed * GIB) == Home(ordinal, A100, why)


def test_unknown_room_is_taken_for_room() -> None:
    """A device whose memory nobody could read is not passed over."""
    gpus = (gpu(0, free=Unknown("NVML: no permission")), gpu(1))
    assert at_home(Facts(gpus=gpus, env={}, launch=ALONE), 20 * GIB) == Home(0, A100, "the first GPU with room")


def test_the_ordinal_is_cudas_not_nvmls() -> None:
    """Behind CUDA_VISIBLE_DEVICES=2,0 the first GPU is NVML's third."""
    gpus = (gpu(0, A100), gpu(1, A100), gpu(2, T4))
    facts = Facts(gpus=gpus, env={"CUDA_VISIBLE_DEVICES": "2,0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, launch=ALONE)
    assert at_home(facts) == Home(0, T4, "the first GPU")


def test_mixed_models_are_not_named_where_cuda_may_number_them_otherwise() -> None:
    """Without CUDA_DEVICE_ORDER=PCI_BUS_ID the fastest GPU comes first, whichever that is to CUDA."""
    facts = Facts(gpus=(gpu(0, T4), gpu(1, A100)), env={}, launch=ALONE)
    found = at_home(facts)
    assert found is not None
    assert (found.ordinal, found.name) == (0, "the GPU that CUDA numbers 0")


@pytest.mark.parametrize(
    ("current", "ordinal", "why"),
    [
        pytest.param(1, 1, "the current device of this process", id="a current device is where the process works"),
        pytest.param(0, 0, "the current device of this process", id="also where it is the first"),
        pytest.param(5, 0, "the first GPU", id="a current device that is not visible does not count"),
        pytest.param(-5, 0, "the first GPU", id="nor one below the first"),
        pytest.param(Unknown("not initialised"), 0, "the first GPU", id="CUDA is not initialised"),
    ],
)
def test_a_process_that_uses_cuda_stays_where_it_is(current: int | Unknown, ordinal: int, why: str) -> None:
    """torch.cuda.set_device came first: a model belongs there."""
    facts = Facts(gpus=FOUR, env={}, launch=ALONE, torch=Torch(current_device=current))
    assert at_home(facts) == Home(ordinal, A100, why)


@pytest.mark.parametrize("facts", [
    pytest.param(Facts(gpus=(), env={}, launch=ALONE), id="there is none"),
    pytest.param(Facts(gpus=ONE, env={"CUDA_VISIBLE_DEVICES": ""}, launch=ALONE), id="none is visible"),
    pytest.param(Facts(env={}, launch=ALONE), id="nobody knows"),
])  # fmt: skip
def test_a_process_without_gpus_has_no_home(facts: Facts) -> None:
    """Nothing is placed on a guess."""
    assert at_home(facts) is None


def rank(local_rank: int | Unknown, launcher: str = "torchrun", world_size: int = 4) -> Launch:
    """One of several processes."""
    return Launch(launcher, world_size, 0, local_rank)


@pytest.mark.parametrize(
    ("launch", "env", "gpus", "expected"),
    [
        pytest.param(rank(2), {}, FOUR, Home(2, A100, "LOCAL_RANK 2"), id="its local rank"),
        pytest.param(rank(0), {}, FOUR, Home(0, A100, "LOCAL_RANK 0"), id="local rank 0"),
        pytest.param(rank(1), {"CUDA_VISIBLE_DEVICES": "3,2"}, FOUR, Home(1, A100, "LOCAL_RANK 1"), id="its local rank among the visible ones"),
        pytest.param(rank(3), {}, ONE, Home(0, A100, "the only GPU that this rank sees"), id="only one is visible: that one"),
        pytest.param(rank(2), {}, FOUR[:2], None, id="a local rank beyond the visible ones has none"),
        pytest.param(rank(Unknown("x"), "slurm"), {"SLURM_LOCALID": "3"}, FOUR, Home(3, A100, "SLURM_LOCALID 3"), id="Slurm's local id"),
        pytest.param(rank(1, "slurm"), {"SLURM_LOCALID": "3"}, FOUR, Home(1, A100, "LOCAL_RANK 1"), id="the local rank before Slurm's local id"),
        pytest.param(rank(Unknown("x"), "slurm"), {"SLURM_LOCALID": "9"}, FOUR, None, id="a local id beyond the visible ones has none"),
        pytest.param(rank(Unknown("x"), "slurm"), {"SLURM_LOCALID": "%t"}, FOUR, None, id="a local id that is no number"),
        pytest.param(rank(Unknown("x"), "slurm"), {"SLURM_LOCALID": "²"}, FOUR, None, id="a local id in digits that Python does not read"),
        pytest.param(rank(-5), {}, FOUR, None, id="a local rank below 0 has none"),
        pytest.param(rank(Unknown("x")), {}, FOUR, None, id="a rank that nobody knows has none"),
    ],
)  # fmt: skip
def test_a_rank_belongs_on_its_own_gpu(launch: Launch, env: dict[str, str], gpus: tuple[Gpu, ...], expected: Home | None) -> None:
    """Ranks never share a device on a guess, however much room the first one has."""
    assert at_home(Facts(gpus=gpus, env=env, launch=launch), 10 * GIB) == expected


def test_a_rank_goes_by_its_rank_even_where_cuda_is_initialised() -> None:
    """A current device of 0 is torch's default, not a choice."""
    facts = Facts(gpus=FOUR, env={}, launch=rank(2), torch=Torch(current_device=0))
    assert at_home(facts) == Home(2, A100, "LOCAL_RANK 2")


@pytest.mark.parametrize(
    ("launch", "expected"),
    [
        pytest.param(rank(0), True, id="torchrun"),
        pytest.param(rank(0, "accelerate"), True, id="accelerate"),
        pytest.param(rank(0, "deepspeed"), True, id="deepspeed"),
        pytest.param(rank(0, "slurm"), True, id="a Slurm step"),
        pytest.param(rank(0, world_size=1), False, id="torchrun with one process"),
        pytest.param(rank(0, "python"), False, id="plain python among stray variables"),
        pytest.param(rank(0, "notebook"), False, id="a notebook"),
        pytest.param(Launch("torchrun", Unknown("x")), False, id="a world of unknown size"),
        pytest.param(Unknown("x"), False, id="an unknown launch"),
    ],
)
def test_whether_a_process_is_a_rank(launch: Launch | Unknown, expected: bool) -> None:
    """One of several processes of a launcher; what is unknown counts as no."""
    assert is_rank(launch) is expected


@pytest.mark.parametrize(("name", "text"), [(A100, f"cuda:1 ({A100}; LOCAL_RANK 1)"), (Unknown("x"), "cuda:1 (GPU; LOCAL_RANK 1)")])
def test_a_home_reads_as_people_say_it(name: str | Unknown, text: str) -> None:
    """Device, model and reason; a model that nobody knows is a GPU."""
    facts = Facts(gpus=(gpu(0), gpu(1, name)), env={}, launch=rank(1))
    assert str(at_home(facts)) == text


# ── CUDA that runs already ──────────────────────────────────────────────────────────────────────────────────────────────────────


def started(gpus: tuple[Gpu, ...], count: int, **env: str) -> Devices | Unknown:
    """The devices of a process in which CUDA found this many GPUs."""
    return visible_devices(Facts(gpus=gpus, env=env, torch=Torch(cuda_build="13.0", device_count=count)))


@pytest.mark.parametrize("env", [{"CUDA_VISIBLE_DEVICES": ""}, {"CUDA_VISIBLE_DEVICES": "1"}, {"CUDA_DEVICE_ORDER": "nonsense"}])
def test_settings_that_came_late_hide_nothing(env: dict[str, str]) -> None:
    """Recorded on an H100, torch 2.11: set to "" after the first tensor, cuda:0 goes on working."""
    devices = started(ONE, 1, **env)
    assert isinstance(devices, Devices)
    assert (devices.visible, devices.late, devices.broken, devices.hidden) == (ONE, True, None, False)


def test_settings_that_were_there_are_read() -> None:
    """CUDA found what they leave."""
    devices = started(FOUR, 2, CUDA_VISIBLE_DEVICES="3,1")
    assert isinstance(devices, Devices)
    assert (ordinals(devices), devices.late) == ([3, 1], False)


def test_settings_that_changed_between_two_others_are_undecided() -> None:
    """Two of four, and the setting of now leaves one: which two nobody knows."""
    devices = started(FOUR, 2, CUDA_VISIBLE_DEVICES="0")
    assert isinstance(devices, Unknown)
    assert "settings that have changed since" in devices.reason
