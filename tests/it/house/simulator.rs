//! The simulator's modules: which stand on which, read from its own paths as in `house`, but down to single names. A name
//! that a room hands on (`pub use`) counts as the file's in which it is defined, so a room's head may hand on what stands
//! above it and is in a circle only if its own code uses that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{assert_no_circle, code_of, longest_known, module_of, paths, walk};

#[test]
fn no_two_files_of_the_simulator_use_each_other() {
    assert_no_circle(House::read().imports());
}

#[test]
fn in_the_simulator_nothing_runs_up() {
    let order = order();
    let height = |module: &str| {
        let room = module.split("::").next().unwrap();
        let at = order.iter().position(|known| known == room);
        at.unwrap_or_else(|| panic!("the order in simulator/src/lib.rs does not name {room}"))
    };
    for (module, used) in House::read().imports() {
        for used in used {
            assert!(height(&used) <= height(&module), "{module} uses {used}, which stands above it");
        }
    }
}

/// The rooms of the simulator from the ground up, as the documentation of its `lib.rs` names them.
fn order() -> Vec<String> {
    let text = std::fs::read_to_string("simulator/src/lib.rs").unwrap();
    let (_, order) = text.split_once("//! From below: ").unwrap();
    let (order, _) = order.split_once('.').unwrap();
    order.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Everything in `simulator/src` but `lib.rs`, which only hands on, and `main.rs`, which is a crate of its own.
struct House {
    /// What each module says, without what it hands on.
    code: BTreeMap<String, String>,
    /// The paths that modules hand on, each with the path of what it names.
    handed_on: BTreeMap<String, String>,
}

impl House {
    fn read() -> Self {
        let mut files: Vec<PathBuf> = Vec::new();
        walk(Path::new("simulator/src"), &mut files);
        files.retain(|file| !file.ends_with("lib.rs") && !file.ends_with("main.rs"));
        assert!(files.len() > 50, "{}", files.len());
        let mut house = Self { code: BTreeMap::new(), handed_on: BTreeMap::new() };
        for file in files {
            let module = module_of(&file);
            let mut code = code_of(&file);
            for start in ["pub use ", "pub(crate) use ", "pub(super) use "] {
                while let Some(at) = code.find(start) {
                    let length = code[at..].find(';').unwrap() + 1;
                    for path in paths(&code[at + start.len()..at + length]) {
                        let elsewhere = ["crate::", "super::"].iter().any(|start| path.starts_with(start));
                        assert!(!elsewhere, "{module} hands on {path}, which is not of its room");
                        let name = path.rsplit("::").next().unwrap();
                        house.handed_on.insert(format!("{module}::{name}"), format!("{module}::{path}"));
                    }
                    code.replace_range(at..at + length, "");
                }
            }
            house.code.insert(module, code);
        }
        house
    }

    /// What each file uses of the others.
    fn imports(&self) -> BTreeMap<String, BTreeSet<String>> {
        let known: BTreeSet<_> = self.code.keys().cloned().collect();
        self.code.iter().map(|(module, code)| (module.clone(), self.used_by(module, code, &known))).collect()
    }

    fn used_by(&self, module: &str, code: &str, known: &BTreeSet<String>) -> BTreeSet<String> {
        let above = module.rsplit_once("::").map_or(String::new(), |(above, _)| format!("{above}::"));
        let own = format!("{module}::");
        let mut starts = vec![
            ("crate::".to_owned(), String::new()),
            ("super::".to_owned(), above),
            ("self::".to_owned(), own.clone()),
        ];
        // A module reaches its children by their bare names, …
        let children =
            known.iter().filter_map(|known| known.strip_prefix(&own)).filter(|name| !name.contains("::"));
        starts.extend(children.map(|child| (format!("{child}::"), format!("{own}{child}::"))));
        let mut used = BTreeSet::new();
        for (start, base) in &starts {
            for (at, _) in code.match_indices(start).filter(|(at, _)| begins_a_word(code, *at)) {
                used.extend(paths(&code[at + start.len()..]).iter().map(|path| format!("{base}{path}")));
            }
        }
        // … and what it hands on by its name alone.
        let handed_on = self.handed_on.keys().filter(|path| {
            let name = path.strip_prefix(&own).unwrap_or_default();
            !name.is_empty()
                && code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name)
        });
        used.extend(handed_on.cloned());
        let mut used: BTreeSet<_> = used.iter().map(|path| self.home_of(path, known)).collect();
        used.remove(module);
        used
    }

    /// The module that defines what this path names.
    fn home_of(&self, path: &str, known: &BTreeSet<String>) -> String {
        let module = longest_known(path, known);
        let name = path[module.len()..].trim_start_matches("::").split("::").next().unwrap();
        match self.handed_on.get(&format!("{module}::{name}")) {
            Some(path) => self.home_of(path, known),
            None => module,
        }
    }
}

/// Whether a path or a name begins here, rather than in its middle.
fn begins_a_word(code: &str, at: usize) -> bool {
    !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
}
