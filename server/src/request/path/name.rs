//! Name of a segment of a path, as servers read it.

/// Name of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name<N> {
    /// Without path parameters, and without white space and dots at its end.
    pub(crate) name: N,
    /// With them, if there are any.
    pub(crate) whole: Option<N>,
    /// Some server drops the segment.
    pub(crate) is_optional: bool,
}

impl<N> Name<N> {
    /// Creates a name that all servers read.
    pub(crate) fn new(name: N) -> Name<N> {
        Name {
            name,
            whole: None,
            is_optional: false,
        }
    }

    pub(crate) fn map<M>(&self, convert: impl Fn(&N) -> M) -> Name<M> {
        Name {
            name: convert(&self.name),
            whole: self.whole.as_ref().map(&convert),
            is_optional: self.is_optional,
        }
    }

    /// Returns the names that some server reads.
    pub(crate) fn forms(&self) -> impl Iterator<Item = &N> {
        std::iter::once(&self.name).chain(&self.whole)
    }
}
