"""The guards of invariants 2 to 5, each as the source that stands in the tree, what it becomes without it, and the test
that must then fail."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Guard:
    """before: lines of `file`, there exactly once. after: the same without the guard. test: what pytest is given."""

    file: str
    before: str
    after: str
    test: str


CHECKPOINT = "pipeline/training/checkpoint.py"
CHECKPOINTS = "pipeline/training/checkpoint_store.py"
FILES = "pipeline/core/files.py"
PPO = "pipeline/training/ppo.py"
RESUME = "pipeline/runs/resume.py"
TORCH = "pipeline/training/torch_state.py"

UNIT = "tests/training/test_checkpoint.py::"
STORE = "tests/training/test_checkpoint_store.py::"
DURABLE = "tests/faults/test_durable.py"
LEFT = "tests/faults/test_interruptions.py"

GUARDS = {
    "the SHA-256 is compared": Guard(
        CHECKPOINT,
        "if content[-_TRAILER_BYTES:] != _trailer(body):",
        "if False:",
        UNIT + "test_every_bit_that_flips_is_noticed",
    ),
    "the length is compared": Guard(
        CHECKPOINT,
        "if len(content) != expected:",
        "if False:",
        UNIT + "test_every_missing_end_and_every_added_byte_is_noticed",
    ),
    "the format is compared": Guard(
        CHECKPOINT, "if version != FORMAT:", "if False:", UNIT + "test_a_hostile_file_is_refused_in_one_sentence"
    ),
    "a file too large is not read": Guard(
        CHECKPOINT, "if size > MAX_BYTES:", "if False:", UNIT + "test_a_file_too_large_is_not_read"
    ),
    "the JSON is bounded": Guard(
        CHECKPOINT,
        "if facts_bytes > MAX_FACTS_BYTES:",
        "if False:",
        UNIT + "test_what_says_that_it_is_too_large_is_not_unpacked",
    ),
    "what is unpacked is bounded": Guard(
        CHECKPOINT,
        "if facts_bytes + arrays_bytes > MAX_BYTES:",
        "if False:",
        UNIT + "test_what_says_that_it_is_too_large_is_not_unpacked",
    ),
    "no more is unpacked than it says": Guard(
        CHECKPOINT,
        "stream.decompress(stored, expected_bytes + 1)",
        "stream.decompress(stored)",
        UNIT + "test_no_more_is_unpacked_than_it_says",
    ),
    "deep JSON is caught": Guard(
        CHECKPOINT,
        "(ValueError, KeyError, RecursionError, zlib.error, SafetensorError)",
        "(ValueError, KeyError, zlib.error, SafetensorError)",
        UNIT + "test_a_hostile_file_is_refused_in_one_sentence",
    ),
    "NaN is refused": Guard(
        CHECKPOINT,
        "json.loads(first, parse_constant=_refuse)",
        "json.loads(first)",
        UNIT + "test_a_hostile_file_is_refused_in_one_sentence",
    ),
    "the file is synced": Guard(FILES, "            _sync(temporary)\n", "", DURABLE),
    "the folder is synced": Guard(FILES, "            _sync(path.parent)\n", "", DURABLE),
    "the file is renamed, not written in place": Guard(
        FILES,
        "            temporary.replace(path)\n",
        "            path.write_bytes(temporary.read_bytes())\n",
        DURABLE,
    ),
    "damaged ones are skipped": Guard(
        CHECKPOINTS,
        '            _log.warning("%s; taking the one before it", error)\n',
        "            raise\n",
        STORE + "test_a_damaged_one_is_named_and_the_one_before_is_taken",
    ),
    "the index is compared with its digest": Guard(
        CHECKPOINTS,
        'if index["sha256"] != _digest(index["entries"]):',
        "if False:",
        STORE + "test_an_index_with_another_figure_is_not_believed",
    ),
    "the best is kept": Guard(
        CHECKPOINTS,
        "return kept | {best.name} if best else kept",
        "return kept",
        STORE + "test_the_last_the_best_and_every_nth_are_kept",
    ),
    "runs that are written are spared": Guard(
        CHECKPOINTS,
        " if folder.parent not in spare]",
        "]",
        STORE + "test_the_store_of_all_runs_is_bounded_oldest_first",
    ),
    "what a checkpoint says of itself is checked": Guard(
        CHECKPOINTS,
        "_ENTRIES.validate_python([found])[0]",
        "Entry(**found)",
        STORE + "test_a_checkpoint_of_something_else_is_refused",
    ),
    "a disk that refused is tried again": Guard(
        "pipeline/training/checkpoint_callback.py",
        "            self._trouble = error\n",
        "",
        "tests/training/test_checkpoint_callback.py::test_a_disk_that_refuses_is_a_warning_and_tried_again",
    ),
    "a disk that refuses at the end is an error": Guard(
        "pipeline/training/checkpoint_callback.py",
        "            raise self._trouble\n",
        "            return\n",
        "tests/training/test_checkpoint_callback.py::test_at_the_end_a_disk_that_refuses_is_an_error",
    ),
    "torch's generator is restored": Guard(
        TORCH, '    torch.set_rng_state(torch.from_numpy(arrays["generator.torch"].copy()))\n', "", LEFT
    ),
    "NumPy's generator is restored": Guard(
        TORCH,
        '    np.random.set_state(("MT19937", arrays["generator.numpy"], *facts["numpy"]))\n',
        "",
        "tests/training/test_torch_state.py",
    ),
    "Python's generator is restored": Guard(
        TORCH, "    random.setstate((version, tuple(words), gauss))\n", "", "tests/training/test_torch_state.py"
    ),
    "the generator is taken from before the step": Guard(
        PPO, "if self._before_choice is not None:", "if False:", f"{LEFT} -k within"
    ),
    "the optimizer is restored": Guard(
        PPO,
        '        restore_optimizer(self.policy.optimizer, facts["optimizer"], arrays, "optimizer.")\n',
        "",
        f"{LEFT} -k within",
    ),
    "the environments are restored": Guard(
        PPO, '            self.env.restore(facts["env"])\n', "            self.env.reset()\n", f"{LEFT} -k within"
    ),
    "the rollout that was begun is refilled": Guard(
        PPO, "                self._refill(arrays)\n", "                pass\n", f"{LEFT} -k within"
    ),
    "the sampler of images is restored": Guard(
        "pipeline/training/sampling.py", '        self._sampler.restore(state["sampler"])\n', "", f"{LEFT} -k within"
    ),
    "the place in the curriculum is restored": Guard(
        "pipeline/training/loop.py", 'self._place = CurriculumPosition(**facts["place"])', "pass", f"{LEFT} -k within"
    ),
    "the history is restored": Guard(
        "pipeline/training/validation_callback.py",
        'self.progress = from_json(list[RolloutProgress], facts["progress"])',
        "self.progress = []",
        f"{LEFT} -k within",
    ),
    "the fit's generator is restored": Guard(
        "pipeline/training/surrogate_fit.py",
        '        self._rng.bit_generator.state = facts["generator"]\n',
        "",
        f"{LEFT} -k surrogate",
    ),
    "only the same conditions are gone on with": Guard(
        RESUME,
        "if found.fingerprint == now and found.forked_from is None",
        "if found.forked_from is None",
        "tests/runs/test_resume.py",
    ),
    "a finished run is not gone on with": Guard(
        RESUME, "    if found.delivered:\n", "    if False:\n", "tests/runs/test_resume.py"
    ),
    "differences are refused": Guard(RESUME, "    if changed:\n", "    if False:\n", "tests/runs/test_resume.py"),
    "a run's name leads nowhere else": Guard(
        RESUME, 'not re.fullmatch(r"[A-Za-z0-9-]{1,64}", run_id) or ', "", "tests/runs/test_resume.py"
    ),
    "a run that is trained is not pruned": Guard(
        "pipeline/cli/checkpoints.py",
        "            if not is_ours:\n",
        "            if False:\n",
        "tests/cli/test_checkpoints.py::test_prune_leaves_a_run_alone_that_is_being_trained",
    ),
    "the lock is taken": Guard(
        "pipeline/core/locks.py",
        "            self._lock.acquire()\n",
        "",
        "tests/core/test_locks.py",
    ),
    "a second SIGINT ends the process": Guard(
        "pipeline/core/stop_signals.py",
        "            os._exit(Stopped.exit_code)\n",
        "            pass\n",
        "tests/core/test_stop_signals.py",
    ),
    "a signal is asked for": Guard(
        "pipeline/core/stop_signals.py",
        "            raise stopped(self._signal)\n",
        "            pass\n",
        "tests/core/test_stop_signals.py",
    ),
    "an agent's weights are compared with their digest": Guard(
        "pipeline/agent/agent.py",
        'if hashlib.sha256(weights).hexdigest() != description.get("weights_sha256"):',
        "if False:",
        "tests/cli/test_main.py::test_a_damaged_agent_is_65",
    ),
    "images are compared with their digests": Guard(
        "pipeline/runs/diagnosis.py",
        " if sha256_if_there(path) != digest]",
        " if False]",
        "tests/runs/test_diagnosis.py::test_each_damage_is_found_and_named",
    ),
}
