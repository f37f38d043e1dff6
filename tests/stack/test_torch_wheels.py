"""For which GPUs a torch is built, and which wheel a machine needs."""

from __future__ import annotations

import pytest

from qvl_preflight.facts import Driver, Facts, Gpu, Packages, Torch
from qvl_preflight.stack.torch_wheels import built_for, channel_for, install_command, runs_on
from qvl_preflight.unknown import Undecided, Unknown

OLD = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")
NEW = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")


@pytest.mark.parametrize(
    ("arch", "capability", "runs"),
    [
        pytest.param("sm_80", (8, 0), True, id="code for this very GPU"),
        pytest.param("sm_80", (8, 9), True, id="code for an older GPU of its generation"),
        pytest.param("sm_86", (8, 0), False, id="code for a newer GPU of its generation"),
        pytest.param("sm_80", (9, 0), False, id="code for the generation before: recorded on an H100"),
        pytest.param("sm_100", (9, 0), False, id="code for the generation after: recorded on an H100"),
        pytest.param("sm_100", (12, 0), False, id="data-centre Blackwell's code on an RTX 50"),
        pytest.param("sm_120", (12, 1), True, id="RTX 50's code on its sibling"),
        pytest.param("sm_90a", (9, 0), True, id="code for one GPU alone, on it"),
        pytest.param("sm_100a", (10, 3), False, id="code for one GPU alone, on its sibling"),
        pytest.param("sm_100f", (10, 3), True, id="code for a family, on its sibling"),
        pytest.param("compute_75", (9, 0), True, id="PTX of an older GPU: recorded on an H100"),
        pytest.param("compute_90a", (9, 0), True, id="PTX for one GPU alone, on it: recorded on an H100"),
        pytest.param("compute_90a", (10, 0), False, id="PTX for one GPU alone, on a newer one"),
        pytest.param("compute_100", (9, 0), False, id="PTX of a newer GPU: recorded on an H100"),
        pytest.param("compute_120", (12, 1), True, id="PTX of its sibling"),
        pytest.param("gfx90a", (9, 0), False, id="code for another vendor's GPU"),
    ],
)
def test_code_runs_where_cuda_says(arch: str, capability: tuple[int, int], runs: bool) -> None:
    """Binaries within their generation from their minor on, PTX on everything newer."""
    assert runs_on((arch,), capability) is runs


@pytest.mark.parametrize(
    ("version", "cuda", "archs"),
    [
        pytest.param("2.1.2", "12.1", OLD, id="2.1.2+cu121, read from the wheel"),
        pytest.param("2.5.1", "12.4", OLD, id="2.5.1+cu124, read from the wheel"),
        pytest.param("2.7.1", "12.6", OLD, id="2.7.1+cu126, read from the wheel"),
        pytest.param("2.7.1", "12.8", (*NEW, "compute_120"), id="2.7.1+cu128"),
        pytest.param("2.10.0", "12.8", ("sm_70", *NEW), id="2.10.0+cu128, read from the wheel"),
        pytest.param("2.14.1", "13.0", NEW, id="2.14.1+cu130, read from the wheel"),
        pytest.param("2.5.1+cu124", None, OLD, id="CUDA out of the version"),
    ],
)
def test_the_wheels_of_pytorch(version: str, cuda: str | None, archs: tuple[str, ...]) -> None:
    """Where the library was not read: an assumption, and marked as one."""
    facts = Facts(packages={"torch": version}, torch=Torch(cuda_build=cuda) if cuda else Unknown("x"))
    assert built_for(facts, Packages(facts)) == (archs, False)


def test_what_was_read_comes_first() -> None:
    """A torch that somebody built is no wheel of PyTorch."""
    facts = Facts(packages={"torch": "2.5.1"}, torch=Torch(cuda_build="12.4", arch_list=("sm_90",)))
    assert built_for(facts, Packages(facts)) == (("sm_90",), True)


@pytest.mark.parametrize(
    ("version", "cuda"),
    [
        pytest.param("2.5.1", "12.5", id="a CUDA for which there are no wheels"),
        pytest.param("2.3.1", "12.6", id="a release before that CUDA"),
        pytest.param("2.12.0", "12.8", id="a release whose wheel was not read"),
        pytest.param("2.5.1+cpu", None, id="a build without CUDA"),
    ],
)
def test_other_builds_are_undecided(version: str, cuda: str | None) -> None:
    """Nothing is concluded from a neighbour."""
    facts = Facts(packages={"torch": version}, torch=Torch(cuda_build=cuda) if cuda else Unknown("x"))
    with pytest.raises(Undecided):
        built_for(facts, Packages(facts))


def test_without_a_word_of_cuda_all_wheels_of_the_release_are_asked() -> None:
    """2.8 has kernels for an RTX 50 in some, for a V100 in others, for a K80 in none."""
    facts = Facts(packages={"torch": "2.8.0"}, torch=Unknown("x"))
    archs, read = built_for(facts, Packages(facts))
    assert not read
    assert [runs_on(archs, capability) for capability in ((12, 0), (7, 0), (3, 7))] == [True, True, False]


@pytest.mark.parametrize(
    ("cuda", "capabilities", "channel"),
    [
        pytest.param("13.0", [(8, 0)], "cu130", id="a new driver and an A100"),
        pytest.param("13.0", [(6, 0)], "cu126", id="a new driver and a P100: new wheels have no Pascal"),
        pytest.param("13.0", [(7, 0)], "cu126", id="a new driver and a V100"),
        pytest.param("12.8", [(12, 0)], "cu128", id="an RTX 50 and its first driver"),
        pytest.param("12.2", [(8, 6)], "cu128", id="CUDA 12 runs on every driver of CUDA 12"),
        pytest.param("11.4", [(7, 0)], "cu118", id="a driver of CUDA 11"),
        pytest.param("13.0", [(6, 1), (12, 0)], None, id="a Pascal beside a Blackwell: no wheel has both"),
        pytest.param("11.4", [(9, 0), (10, 0)], None, id="a driver that is too old for the GPU"),
        pytest.param("10.2", [(7, 0)], None, id="a driver before CUDA 11"),
        pytest.param("13.0", [], None, id="no GPU"),
    ],
)
def test_the_index_for_a_machine(cuda: str, capabilities: list[tuple[int, int]], channel: str | None) -> None:
    """The newest whose wheels the driver runs and the GPUs know."""
    gpus = tuple(Gpu(index, capability=capability) for index, capability in enumerate(capabilities))
    facts = Facts(driver=Driver("x", cuda), gpus=gpus)
    assert channel_for(facts) == channel
    assert install_command(facts).endswith(f"/whl/{channel}" if channel else "torch")


@pytest.mark.parametrize(
    "facts",
    [
        Facts(driver=None, gpus=()),
        Facts(),
        Facts(driver=Driver("470"), gpus=(Gpu(0, capability=(8, 0)),)),
        Facts(driver=Driver("470", "11.4")),
    ],
    ids=["no driver", "nothing is known", "a driver whose CUDA is unknown", "unknown GPUs"],
)
def test_no_index_on_a_guess(facts: Facts) -> None:
    """Too little is known."""
    assert channel_for(facts) is None


@pytest.mark.parametrize(
    ("torch", "cuda", "capability", "command"),
    [
        pytest.param("2.4.1+cpu", "12.2", (8, 6), "torch==2.4.1 --index-url https://download.pytorch.org/whl/cu121", id="the same release, for the driver's CUDA"),
        pytest.param("2.4.1", "11.4", (8, 0), "torch==2.4.1 --index-url https://download.pytorch.org/whl/cu118", id="the same release for an older driver"),
        pytest.param("2.6.0", "12.2", (8, 0), "torch==2.6.0 --index-url https://download.pytorch.org/whl/cu124", id="within a major any driver does"),
        pytest.param("2.4.1", "12.8", (12, 0), "torch --index-url https://download.pytorch.org/whl/cu128", id="no wheel of that release knows the GPU"),
        pytest.param("2.9.1", "13.0", (7, 0), "torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128", id="a V100 under a new driver"),
        pytest.param("2.14.1", "13.0", (7, 0), "torch --index-url https://download.pytorch.org/whl/cu126", id="a release whose older wheels were not read"),
        pytest.param(None, "13.0", (8, 0), "torch --index-url https://download.pytorch.org/whl/cu130", id="a release that nobody knows"),
    ],
)  # fmt: skip
def test_the_installed_release_is_kept_where_it_can_be(
    torch: str | None, cuda: str, capability: tuple[int, int], command: str
) -> None:
    """What else is installed was built for it."""
    packages = {} if torch is None else {"torch": torch}
    facts = Facts(
        packages=packages, packages_complete=torch is not None, driver=Driver("x", cuda), gpus=(Gpu(0, capability=capability),)
    )
    assert install_command(facts) == f"pip install --force-reinstall {command}"


def test_what_is_built_for_one_torch_is_replaced_with_it() -> None:
    """torchvision of another release, or for another CUDA, cannot be imported beside it."""
    packages = {"torch": "2.4.1+cpu", "torchvision": "0.19.1+cpu", "torchaudio": False}
    facts = Facts(packages=packages, driver=Driver("x", "12.2"), gpus=(Gpu(0, capability=(8, 6)),))
    assert install_command(facts).startswith("pip install --force-reinstall torch==2.4.1 torchvision==0.19.1 --index-url ")
    new = Facts(packages=packages, driver=Driver("x", "12.8"), gpus=(Gpu(0, capability=(12, 0)),))
    assert install_command(new).startswith("pip install --force-reinstall torch torchvision --index-url ")
