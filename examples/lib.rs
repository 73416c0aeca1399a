//! Examples of `tollgate`: each file beside this one is a program of its own.
