//! Examples of `tollgate`: each other file in this directory is a program.
