"""The command line: arguments in, exit codes and text for people or machines out."""
