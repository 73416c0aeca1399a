//! Files of the output of `nginx -T`, in the places that include them.

use std::collections::BTreeSet;

use super::syntax::{Directive, parse};

/// Line before each file.
const MARKER: &str = "# configuration file ";

/// Maximum depth of files that include one another.
const MAX_DEPTH: usize = 8;

/// Maximum number of directives of all files, repetitions included.
const MAX_DIRECTIVES: usize = 100_000;

/// File of a dump.
struct File {
    path: String,
    directives: Vec<Directive>,
}

/// Parses a file, or the output of `nginx -T`. Lines are those of the whole text.
///
/// # Errors
/// The line, what was expected, and what was found.
pub(crate) fn directives(text: &str) -> Result<Vec<Directive>, String> {
    let files = files(text)?;
    let Some((main, others)) = files.split_first() else {
        return parse(text, 1);
    };
    let directory = main
        .path
        .rsplit_once('/')
        .map_or("", |(directory, _)| directory);
    let mut expansion = Expansion {
        directory,
        files: others,
        used: BTreeSet::new(),
        count: 0,
    };
    let mut all = expansion.expand(&main.directives, 0)?;
    for (index, file) in others.iter().enumerate() {
        if !expansion.used.contains(&index) {
            all.extend(file.directives.iter().cloned());
        }
    }
    Ok(all)
}

fn files(text: &str) -> Result<Vec<File>, String> {
    let mut files = Vec::new();
    let mut rest = text;
    let mut line = 1;
    let mut open: Option<(String, usize, &str)> = None;
    loop {
        let (current, next) = rest.split_once('\n').unwrap_or((rest, ""));
        let path = current.trim_end().strip_prefix(MARKER);
        let path = path.and_then(|path| path.strip_suffix(':'));
        if path.is_some() || rest.is_empty() {
            if let Some((path, start, text)) = open.take() {
                let own = &text[..text.len() - rest.len()];
                files.push(File {
                    path,
                    directives: parse(own, start)?,
                });
            }
            open = path.map(|path| (path.to_owned(), line + 1, next));
        }
        if rest.is_empty() {
            return Ok(files);
        }
        rest = next;
        line += 1;
    }
}

struct Expansion<'a> {
    /// Directory of the first file, to which names are relative.
    directory: &'a str,
    files: &'a [File],
    /// Files that another one includes.
    used: BTreeSet<usize>,
    count: usize,
}

impl Expansion<'_> {
    fn expand(&mut self, directives: &[Directive], depth: usize) -> Result<Vec<Directive>, String> {
        let mut all = Vec::new();
        for directive in directives {
            self.count += 1;
            if self.count > MAX_DIRECTIVES || depth > MAX_DEPTH {
                return Err(format!(
                    "{}: expected at most {MAX_DIRECTIVES} directives, and files that include one another at most {MAX_DEPTH} deep",
                    directive.place()
                ));
            }
            let included = match directive.name.as_str() {
                "include" => self.included(directive.arg(0)),
                _ => Vec::new(),
            };
            if included.is_empty() {
                let mut own = directive.without_block();
                if let Some(block) = &directive.block {
                    own.block = Some(self.expand(block, depth)?);
                }
                all.push(own);
            }
            for index in included {
                self.used.insert(index);
                let files = self.files;
                all.extend(self.expand(&files[index].directives, depth + 1)?);
            }
        }
        Ok(all)
    }

    /// Returns the files that a pattern names.
    fn included(&self, pattern: &str) -> Vec<usize> {
        let pattern = match pattern.starts_with('/') {
            true => pattern.to_owned(),
            false => format!("{}/{pattern}", self.directory),
        };
        let files = self.files.iter().enumerate();
        let named = files.filter(|(_, file)| matches(pattern.as_bytes(), file.path.as_bytes()));
        named.map(|(index, _)| index).collect()
    }
}

/// Returns true if a pattern with `*` and `?` describes a path.
fn matches(pattern: &[u8], path: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    // Where to go on after the last `*`: in the pattern, and in the path.
    let mut star = None;
    while from < path.len() {
        match pattern.get(at) {
            Some(b'*') => {
                at += 1;
                star = Some((at, from));
            }
            Some(&byte) if byte == path[from] || byte == b'?' && path[from] != b'/' => {
                (at, from) = (at + 1, from + 1);
            }
            _ => match star {
                Some((after, taken)) if path[taken] != b'/' => {
                    star = Some((after, taken + 1));
                    (at, from) = (after, taken + 1);
                }
                _ => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_describe_paths() {
        for (pattern, path, expected) in [
            ("/etc/*.conf", "/etc/a.conf", true),
            ("/etc/*.conf", "/etc/a/b.conf", false),
            ("/etc/*/?.conf", "/etc/x/b.conf", true),
            ("/etc/*", "/etc/", true),
            ("/etc/a", "/etc/ab", false),
            ("/etc/ab", "/etc/a", false),
            ("*a*a*", "baab", true),
            ("", "", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), path.as_bytes()),
                expected,
                "{pattern} {path}"
            );
        }
    }

    #[test]
    fn included_files_stand_in_their_places() {
        let parsed = directives(
            "# configuration file /etc/nginx/nginx.conf:
http { include conf.d/*.conf; include other; }
# configuration file /etc/nginx/conf.d/b.conf:
server { include /etc/nginx/snippets/limit; }

# configuration file /etc/nginx/snippets/limit:
limit_req zone=a;
# configuration file /etc/nginx/elsewhere:
user a;",
        )
        .unwrap();
        let http = parsed[0].block();
        assert_eq!(http[0].block()[0].place(), "line 7: limit_req zone=a");
        assert_eq!(
            (http[1].name.as_str(), parsed[1].name.as_str()),
            ("include", "user")
        );
    }

    #[test]
    fn files_that_include_themselves_are_refused() {
        for text in ["include b;", "include b; include b;"] {
            let error = directives(&format!(
                "# configuration file /a:\ninclude b;\n# configuration file /b:\n{text}"
            ));
            let error = error.unwrap_err();
            assert!(
                error.starts_with("line 4: include b: expected at most"),
                "{error}"
            );
        }
        let error = directives("# configuration file /a:\nb;\n# configuration file /c:\nd {");
        assert!(error.unwrap_err().starts_with("line 4: d: expected }"));
    }
}
