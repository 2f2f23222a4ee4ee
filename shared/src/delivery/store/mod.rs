//! All SQL statements that write SMS and covers.
//!
//! Statements of other modules that write them too take that part from a macro here.

pub(super) mod claim;
pub(super) mod ledger;
pub(super) mod links;
pub(super) mod record;
pub(super) mod sweep;

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// Finds the files below `folder` with a statement, or a part of one, that writes SMS or covers.
    fn writers(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("the source") {
            let path = entry.expect("a file").path();
            if path.is_dir() {
                writers(&path, found);
                continue;
            }
            let text = fs::read_to_string(&path).expect("a source file").to_lowercase();
            let words: Vec<&str> = text
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .filter(|w| !w.is_empty())
                .collect();
            let writes = words.windows(3).any(|words| {
                let [before, verb, object] = words else { return false };
                ["sms", "sms_covers"].contains(object)
                    && match *verb {
                        "into" => ["insert", "merge"].contains(before),
                        "from" => *before == "delete",
                        "only" => *before == "update",
                        verb => ["update", "truncate", "copy"].contains(&verb),
                    }
            });
            if writes {
                found.push(path.display().to_string());
            }
        }
    }

    #[test]
    fn no_other_module_writes_sms() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut found = Vec::new();
        writers(&source, &mut found);
        let (ours, others): (Vec<_>, Vec<_>) =
            found.iter().partition(|path| path.contains("/delivery/store/"));
        assert!(ours.len() > 3 && others.is_empty(), "{others:?}");
    }
}
