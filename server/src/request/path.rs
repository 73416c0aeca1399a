//! Readings of request paths.
//!
//! Servers read a path differently: some decode `%2F` before they split the path into segments,
//! some treat `\` as `/`, some merge slashes, some resolve `..` before they decode or after, some
//! remove path parameters, and all that in every combination and repeatedly. The upstream's habits
//! are unknown, so a path has several readings, and a limit that must not be bypassed by an
//! alternative spelling applies to all of them. docs/server.md lists the habits.
//!
//! A reading is a list of segments. Most habits change how a segment is spelled and not which
//! segments there are, so all readings share the segments, which one pass over the path finds, with
//! their names decoded to the end. Readings differ in the segments that `..` removes, and in the
//! segments before a script. A path with more than [`MAX_READINGS`] is rejected.

mod case;
mod decode;
mod name;
mod segments;

use std::{borrow::Cow, ops::Range};

use percent_encoding::percent_decode_str;

use self::segments::{Habits, Kind, MAX_READINGS, Segments};
pub(crate) use self::segments::{PathError, Segment, is_end};
pub(crate) use self::{case::fold_case, name::Name};

/// A path, split into segments, with all of its readings.
pub(crate) struct ParsedPath<'a> {
    /// The path, decoded to the end.
    text: Cow<'a, [u8]>,
    segments: Segments,
    /// Indices of the segments of each reading. Empty when the only reading has all of them.
    readings: Vec<Vec<u8>>,
    is_canonical: bool,
}

impl<'a> ParsedPath<'a> {
    pub(crate) fn parse(path: &'a str) -> Result<ParsedPath<'a>, PathError> {
        let decoded = decode::decode(path);
        let segments = Segments::new(&decoded)?;
        let readings = segments.readings()?;
        let is_canonical = decoded.is_canonical && segments.is_canonical();
        Ok(ParsedPath {
            text: decoded.text,
            segments,
            readings,
            is_canonical,
        })
    }

    pub(crate) fn reading_count(&self) -> usize {
        self.readings.len().max(1)
    }

    /// Returns the segments of a reading.
    pub(crate) fn reading(&self, index: usize) -> impl Iterator<Item = &Segment> {
        self.numbered(index).map(|(_, segment)| segment)
    }

    /// Returns the segments of a reading, with their places in the path.
    fn numbered(&self, index: usize) -> impl Iterator<Item = (usize, &Segment)> {
        let all = &self.segments.list;
        let some = self.readings.get(index);
        (0..some.map_or(all.len(), Vec::len)).filter_map(move |at| {
            let at = some.map_or(at, |some| usize::from(some[at]));
            Some((at, all.get(at)?))
        })
    }

    /// Returns the names of the segments of all readings, also of those that end earlier. Segments are
    /// one name for a server that does not know what is between them for a separator.
    pub(crate) fn names(&self) -> Result<Vec<Vec<Name<&[u8]>>>, PathError> {
        let trailing = self.segments.trailing.unwrap_or(0);
        let list = self.segments.list.iter();
        let separators = list.fold(trailing, |all, segment| all | segment.separator);
        let mut all = Names(Vec::with_capacity(self.reading_count()));
        for reading in 0..self.reading_count() {
            for known in subsets(separators) {
                self.add_names(&mut all, reading, known)?;
            }
        }
        Ok(all.0)
    }

    /// Adds the names of a reading, for a server that knows these separators.
    fn add_names<'s>(
        &'s self,
        all: &mut Names<'s>,
        reading: usize,
        known: Habits,
    ) -> Result<(), PathError> {
        let mut names = Vec::with_capacity(self.segments.list.len());
        // Place after the last segment.
        let mut after = 0;
        // Of the last name.
        let (mut start, mut is_named) = (0, false);
        for (at, segment) in self.numbered(reading) {
            if segment.separator & !known != 0 && at > 0 && at == after {
                if is_named {
                    names.pop();
                }
                is_named = true;
                names.push(Name::new(&self.text[start..segment.end]));
            } else {
                start = segment.name.start;
                let whole = &self.text[start..segment.end];
                is_named = !segment.is_droppable() || !whole.is_empty();
                if is_named {
                    names.push(Name {
                        name: self.name(segment),
                        whole: (segment.name.end < segment.end).then_some(whole),
                        is_optional: segment.is_droppable(),
                    });
                }
            }
            after = at + 1;
            if segment.may_end() {
                all.add(&names)?;
            }
        }
        let is_at_end = after > 0 && after == self.segments.list.len();
        if self.segments.trailing.unwrap_or(0) & !known != 0 && is_at_end {
            if is_named {
                names.pop();
            }
            names.push(Name::new(&self.text[start..]));
        }
        all.add(&names)
    }

    pub(crate) fn name(&self, segment: &Segment) -> &[u8] {
        &self.text[segment.name.clone()]
    }

    /// Returns true if all servers read the same segments and the same names.
    pub(crate) fn is_canonical(&self) -> bool {
        self.is_canonical
    }

    /// Returns true if some server takes a segment for `..`.
    pub(crate) fn has_parents(&self) -> bool {
        self.segments.has_parents()
    }

    /// Returns true if some server removes a part of a name.
    pub(crate) fn is_stripped(&self) -> bool {
        self.segments.is_stripped
    }

    pub(crate) fn has_trailing_slash(&self) -> bool {
        self.segments.trailing.is_some()
    }

    /// Returns true if servers that ignore letter case may read another path.
    pub(crate) fn has_uppercase(&self) -> bool {
        let is_uppercase = |byte: u8| byte.is_ascii_uppercase() | !byte.is_ascii();
        let count = |block: &[u8]| {
            block
                .iter()
                .map(|&byte| u8::from(is_uppercase(byte)))
                .sum::<u8>()
        };
        self.text.chunks(32).any(|block| count(block) > 0)
    }
}

/// Names of the segments of distinct readings.
struct Names<'s>(Vec<Vec<Name<&'s [u8]>>>);

impl<'s> Names<'s> {
    fn add(&mut self, names: &[Name<&'s [u8]>]) -> Result<(), PathError> {
        if self.0.iter().any(|known| known == names) {
            return Ok(());
        }
        if self.0.len() >= MAX_READINGS {
            return Err(PathError::Readings);
        }
        self.0.push(names.to_vec());
        Ok(())
    }
}

impl Segments {
    fn is_canonical(&self) -> bool {
        let is_plain = |segment: &Segment| {
            segment.kind == Kind::Name && segment.separator == 0 && !segment.may_end
        };
        self.list.iter().all(is_plain) && self.trailing.unwrap_or(0) == 0
    }

    fn has_parents(&self) -> bool {
        self.list.iter().any(|segment| segment.kind == Kind::Parent)
    }

    /// Returns all readings, or none if the only one has all segments.
    fn readings(&self) -> Result<Vec<Vec<u8>>, PathError> {
        let has_parents = self.has_parents();
        let mut readings = Readings(self.starts(has_parents));
        if readings.0.len() > MAX_READINGS {
            return Err(PathError::Readings);
        }
        let separators = self.separators_in_parameters();
        if separators != 0 {
            let mut next = 0;
            while let Some(reading) = readings.0.get(next).cloned() {
                for known in subsets(separators) {
                    readings.add(self.without_parameters(&reading, known))?;
                }
                next += 1;
            }
        }
        if !has_parents && readings.0.len() == 1 {
            return Ok(Vec::new());
        }
        if has_parents {
            let habits = self
                .list
                .iter()
                .fold(self.trailing.unwrap_or(0), |all, segment| {
                    all | segment.separator
                        | if segment.kind == Kind::Name {
                            0
                        } else {
                            segment.habits
                        }
                });
            // Each habit doubles the number of readings.
            if habits.count_ones() > MAX_READINGS.ilog2() {
                return Err(PathError::Readings);
            }
            // A path may pass through several servers. Each reads what the one before made of it.
            let mut next = 0;
            while let Some(reading) = readings.0.get(next).cloned() {
                for subset in subsets(habits) {
                    readings.add(self.resolve(&reading, subset))?;
                }
                next += 1;
            }
        }
        Ok(readings.0)
    }

    /// Returns the readings before dot segments are resolved: all segments, those after a host as
    /// in `//host/path`, those after each script, which some frameworks route by the rest of the
    /// path, and those before the end of the path for some server.
    fn starts(&self, has_parents: bool) -> Vec<Vec<u8>> {
        let length = self.list.len();
        // There are at most 64 segments.
        let reading = |range: Range<usize>| range.map(|index| index as u8).collect();
        let mut starts = vec![reading(0..length)];
        let is_named = |segment: &Segment| !segment.name.is_empty();
        if self.list.first().is_some_and(|first| !is_named(first))
            && let Some(host) = self.list.iter().position(is_named)
        {
            // A host ends at a separator, which may have to be `/` itself.
            let after = |end: &usize| self.list.get(*end).is_none_or(|next| next.separator == 0);
            let last = (host + 1..length).find(after).unwrap_or(length);
            starts.extend((host + 1..=last).map(|end| reading(end..length)));
            // To a server that knows none of the separators in it, all of that is the host.
            if self.list[host..last].iter().any(|segment| segment.may_end) {
                starts.push(Vec::new());
            }
        }
        for (index, segment) in self.list.iter().enumerate() {
            if segment.is_script {
                starts.push(reading(index + 1..length));
            }
            // Without dot segments, this is the beginning of another reading.
            if segment.may_end && has_parents {
                starts.push(reading(0..index + 1));
            }
        }
        starts
    }

    /// Returns the habits that make separators of characters between a path parameter and the next
    /// slash.
    fn separators_in_parameters(&self) -> Habits {
        let mut has_parameter = false;
        let mut found = 0;
        for segment in &self.list {
            has_parameter &= segment.separator != 0;
            if has_parameter {
                found |= segment.separator;
            }
            has_parameter |= segment.has_parameter;
        }
        found
    }

    /// Removes segments that are a part of a path parameter to a server with these habits: nothing
    /// between them and the parameter is a separator to it.
    fn without_parameters(&self, reading: &[u8], habits: Habits) -> Vec<u8> {
        let mut is_in_parameter = false;
        let mut kept = reading.to_vec();
        kept.retain(|&index| {
            let segment = &self.list[usize::from(index)];
            is_in_parameter &= segment.separator & !habits != 0;
            let is_kept = !is_in_parameter;
            is_in_parameter |= segment.has_parameter;
            is_kept
        });
        kept
    }

    /// Resolves dot segments as a server with these habits does.
    fn resolve(&self, reading: &[u8], habits: Habits) -> Vec<u8> {
        let has = |needed: Habits| needed & !habits == 0;
        let segment = |index: u8| &self.list[usize::from(index)];
        let mut resolved = Vec::with_capacity(reading.len());
        for (at, &index) in reading.iter().enumerate() {
            let after = match reading.get(at + 1) {
                Some(&next) => segment(next).separator,
                None if usize::from(index) + 1 == self.list.len() => self.trailing.unwrap_or(0),
                None => 0,
            };
            let this = segment(index);
            let is_whole = (at == 0 || has(this.separator)) && has(after);
            match this.kind {
                Kind::Parent if is_whole && has(this.habits) => {
                    // Segments without a separator between them are one to this server.
                    while let Some(removed) = resolved.pop() {
                        if has(segment(removed).separator) {
                            break;
                        }
                    }
                }
                Kind::Droppable if is_whole && has(this.habits) => {}
                _ => resolved.push(index),
            }
        }
        resolved
    }
}

/// Distinct readings.
struct Readings(Vec<Vec<u8>>);

impl Readings {
    fn add(&mut self, reading: Vec<u8>) -> Result<(), PathError> {
        if !self.0.contains(&reading) {
            if self.0.len() >= MAX_READINGS {
                return Err(PathError::Readings);
            }
            self.0.push(reading);
        }
        Ok(())
    }
}

/// Returns all subsets of a set.
fn subsets(set: Habits) -> impl Iterator<Item = Habits> {
    let mut next = Some(set);
    std::iter::from_fn(move || {
        let subset = next?;
        next = subset.checked_sub(1).map(|below| below & set);
        Some(subset)
    })
}

/// Decodes percent-encoded UTF-8. Unlike in paths, a malformed percent sign is an error: `None`.
pub(crate) fn percent_decoded(text: &str) -> Option<Cow<'_, str>> {
    let is_hex =
        |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    if !text.split('%').skip(1).all(is_hex) {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok()
}
