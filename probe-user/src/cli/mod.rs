//! The command line: what can be asked for, in one definition that help, completions and man page share.
