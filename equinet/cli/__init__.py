"""The command line: one thin module per verb, each with HELP and main(argv) -> exit code."""
