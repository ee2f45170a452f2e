"""What README claims, and the test that fails where a claim is false: words of README; file and function in tests/."""

from __future__ import annotations

CLAIMS = {
    "neither PyTorch nor TensorFlow at run time": "test_readme.py::test_neither_pytorch_nor_tensorflow_is_imported",
    "explains two classes in each of two images": "cli/test_cli.py::test_demo",
    "`pipx run --spec . onnxcam demo`": "cli/test_throwaway.py::test_pipx_gets_the_engine",
    "`uvx onnxcam demo` does the same": "cli/test_throwaway.py::test_uvx_starts_again_with_the_engine",
    "shows what else there is": "test_site.py::test_the_tour_runs",
    "This writes the overlay, the raw map and `manifest.json`": "cli/test_explain_folder.py::test_what_is_written",
    "If it had to guess the preprocessing, a warning says so": "cli/test_cli.py::test_a_guess_is_announced",
    "a warning names it, `manifest.json` has its error, and the exit code is 0": (
        "cli/test_explain_many.py::test_a_broken_file_does_not_end_the_run"
    ),
    "`--strict` ends the run there": "cli/test_explain_many.py::test_strict_ends_it_at_the_first",
    "An interrupted run resumes when you repeat the command": (
        "cli/test_explain_folder.py::test_an_interrupted_run_keeps_what_is_whole_and_resumes"
    ),
    "onnxcam reads the configuration that Hugging Face, timm or Ultralytics store": (
        "preprocess/test_preprocess.py::test_ultralytics"
    ),
    "weights, labels and preprocessing come along": (
        "hub/test_hub.py::test_a_model_comes_with_its_weights_labels_and_preprocessing"
    ),
    "moves by a change of its imports": "compat/test_peers.py::test_cams_of_pytorch_grad_cam",
    "In a notebook results show themselves": (
        "notebooks/test_shown.py::test_an_explanation_shows_its_overlay_and_what_it_is_of"
    ),
    "53 methods have one interface": "cli/test_cli.py::test_readme_names_every_method",
    "without a gradient": "test_site.py::test_methods_without_a_gradient_are_marked",
    "lists the conventions that are read without options": "zoo/test_zoo.py::test_the_page_is_that_of_the_zoo",
    "each word has a map": "decoders/test_cli.py::test_folder_of_parts",
    "drop an image, click a class": "web/test_page.py::test_a_click_explains_another_class",
    "it runs in C++, Node.js and browsers": "bake/test_cpp.py::test_the_program_says_what_python_says",
    "versions of ONNX Runtime from three years ago": (
        "bake/test_old_runtime.py::test_it_runs_in_a_runtime_of_three_years_ago"
    ),
    "`bake --triton` writes it for Triton Inference Server": "bake/test_triton.py::test_the_client_gets_the_map",
    "comments it on the pull request": "test_action.py::test_a_failed_validation",
    "ranks the quantised tensors of a model": (
        "diagnosis/test_diagnose.py::test_effects_rank_as_runs_with_one_tensor_quantised_do"
    ),
    "a file that passes": "diagnosis/test_repair_command.py::test_a_spoilt_file_is_repaired",
    "the device needs Python, NumPy and ONNX Runtime only": (
        "compare/test_pack.py::test_the_device_records_what_the_host_records"
    ),
    "bad input ends with one line and exit code 2": "cli/test_bad_input.py::test_a_good_run_for_comparison",
    "never replaces your files without `--overwrite`": "test_files.py::test_no_output_is_an_input",
    "resumes when it was killed": "batching/test_batch.py::test_kill_9_loses_nothing_and_doubles_nothing",
    "gives up a picture that ends its process without losing the others": (
        "batching/test_batch.py::test_a_picture_that_ends_its_process_is_a_row_with_its_error"
    ),
    "names the parts of a class in which the network looks at a mark": (
        "auditing/test_audit.py::test_what_was_planted_is_named"
    ),
    "You can differentiate any tensor of the graph": "autodiff/test_vjp.py::test_taps_anywhere_and_weights",
    "also with symbolic shapes": "autodiff/test_rules.py::test_gradient_with_symbolic_shapes",
    "table with replaceable rows": "autodiff/test_vjp.py::test_a_rule_set_of_ones_own",
    "writes it only if outputs, activations and gradients equal the": (
        "converters/test_refused.py::test_an_unequal_file_is_refused"
    ),
    "every rule with central differences": "autodiff/test_rules.py::test_every_rule_has_a_case_and_every_case_a_rule",
    "first and second derivatives": "autodiff/test_second_order.py::test_gradient_of_a_gradient",
    "every method with a slow replica of its paper": "methods/test_replicas.py::test_every_method_has_a_replica",
    "ground truth of twenty small networks": "test_readme.py::test_counts_and_extras",
    "Grad-CAM costs about as much as the inference": "test_readme.py::test_the_cost_of_gradcam_is_the_measured_one",
}
