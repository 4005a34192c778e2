//! The core is built in floors, as its front page says: each module is made of what is below it.
//! Campaigns and manual updates stand side by side, and nothing below knows of either. And what a new
//! policy adds to is spelled out in one file each, so that nothing else changes with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Modules, each with those that it must not know of, whatever else it may.
const APART: [(&str, &[&str]); 5] = [
    ("campaign", &["manual"]),
    ("manual", &["campaign"]),
    ("event", &["campaign", "manual", "input", "effect"]),
    ("operation", &["campaign", "manual", "event", "input", "effect", "definition"]),
    ("answer", &["operation", "input"]),
];

/// What a new policy adds to, each with the one file that may spell it out: see
/// `docs/where-things-go.md`.
const SPELLED_ONCE: [(&str, &str); 7] = [
    ("HoldReason::", "campaign/admission.rs"),
    ("DeviceFact::", "rollout/mod.rs"),
    ("DeviceFacts {", "rollout/mod.rs"),
    ("PushRollout {", "rollout/mod.rs"),
    ("RolloutLimits {", "rollout/mod.rs"),
    ("LimitsEdit {", "rollout/mod.rs"),
    ("pub struct Campaign {", "campaign/apply.rs"),
];

/// Policies that record something, each by the word that stands for it in the code: beside
/// `rollout/<policy>.rs` it is known to these files alone.
const POLICIES: [&str; 1] = ["consent"];
const KNOW_POLICIES: [&str; 2] = ["rollout/mod.rs", "campaign/admission.rs"];

/// What each top-level module imports, with a file that does it.
type Graph = BTreeMap<String, BTreeMap<String, String>>;

/// The code of a file: no comments, and no attribute that names a path in a text.
fn code(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The names that follow each `crate::` in the code: one, or those within braces.
fn named(code: &str) -> Vec<String> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut all = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let Some(list) = rest.strip_prefix('{') else {
            all.push(rest.chars().take_while(|c| is_name(*c)).collect());
            continue;
        };
        // Of a nested list only the outermost names are modules.
        let (mut depth, mut name, mut path) = (0, String::new(), false);
        for c in list.chars() {
            match c {
                '}' if depth == 0 => break,
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    all.push(std::mem::take(&mut name));
                    path = false;
                }
                ':' if depth == 0 => path = true,
                c if depth == 0 && !path && is_name(c) => name.push(c),
                _ => {}
            }
        }
        all.push(name);
    }
    all.retain(|name| !name.is_empty());
    all
}

fn read(folder: &Path, module: Option<&str>, graph: &mut Graph) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
        if path.is_dir() {
            read(&path, Some(module.unwrap_or(&stem)), graph);
        } else if stem != "lib" {
            let own = module.unwrap_or(&stem).to_owned();
            let text = code(&fs::read_to_string(&path).expect("a file"));
            let imports = graph.entry(own.clone()).or_default();
            for name in named(&text).into_iter().filter(|name| *name != own) {
                imports.insert(name, path.display().to_string());
            }
        }
    }
}

/// The modules of a cycle, if there is one behind `from`.
fn cycle<'a>(graph: &'a Graph, from: &'a str, way: &mut Vec<&'a str>) -> Option<Vec<&'a str>> {
    if let Some(at) = way.iter().position(|module| *module == from) {
        return Some(way[at..].to_vec());
    }
    way.push(from);
    let found = graph.get(from)?.keys().find_map(|next| cycle(graph, next, way));
    way.pop();
    found
}

/// What is wrong with the imports, if anything.
fn faults(graph: &Graph) -> Vec<String> {
    let modules: BTreeSet<_> = graph.keys().cloned().collect();
    let mut faults = Vec::new();
    for (module, imports) in graph {
        for (name, file) in imports.iter().filter(|(name, _)| !modules.contains(*name)) {
            faults.push(format!("{file}: `crate::{name}` is no module: name the one it is in"));
        }
        let apart = APART.iter().find(|(of, _)| of == module).map_or(&[][..], |(_, apart)| apart);
        for name in apart.iter().filter(|name| imports.contains_key(**name)) {
            faults.push(format!("{}: `{module}` must not know of `{name}`", imports[*name]));
        }
    }
    let round = graph.keys().find_map(|module| cycle(graph, module, &mut Vec::new()));
    faults.extend(round.map(|round| format!("modules import each other: {}", round.join(" -> "))));
    faults
}

#[test]
fn each_module_is_made_of_what_is_below_it() {
    let mut graph = Graph::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), None, &mut graph);
    assert!(graph.len() > 20, "only {} modules were found", graph.len());
    assert!(graph["campaign"].contains_key("event"), "imports are read");
    let faults = faults(&graph);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The code of each file of a folder, without its tests, with its path from there.
fn sources(folder: &Path, within: &str, all: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let name = entry.file_name().into_string().expect("a name");
        let path = format!("{within}{name}");
        if entry.path().is_dir() {
            sources(&entry.path(), &format!("{path}/"), all);
        } else if name != "tests.rs" {
            let text = code(&fs::read_to_string(entry.path()).expect("a file"));
            let without_tests = text.split("#[cfg(test)]").next().unwrap_or_default();
            all.push((path, without_tests.to_owned()));
        }
    }
}

/// Where something is spelled out that has its place elsewhere, or nowhere.
fn scattered(sources: &[(String, String)]) -> Vec<String> {
    let mut faults = Vec::new();
    for (what, place) in SPELLED_ONCE {
        let is_at_fault = |(path, code): &&(String, String)| {
            // A function that gives one back ends in the same way.
            let mut lines = code.lines().filter(|line| !line.contains("->"));
            let is_spelled = lines.any(|line| line.contains(what));
            is_spelled != (path == place)
        };
        let found = sources.iter().filter(is_at_fault);
        faults.extend(found.map(|(path, _)| format!("{path}: `{what}` belongs in {place} alone")));
    }
    faults
}

#[test]
fn a_policy_that_records_something_is_known_to_three_files() {
    let mut all = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut all);
    for policy in POLICIES {
        let own = format!("rollout/{policy}.rs");
        let knows = all.iter().filter(|(_, code)| code.to_lowercase().contains(policy));
        let mut files: Vec<&str> = knows.map(|(path, _)| path.as_str()).collect();
        files.sort_unstable();
        let mut expected = vec![own.as_str()];
        expected.extend(KNOW_POLICIES);
        expected.sort_unstable();
        assert_eq!(files, expected, "the place of {policy} is `rollout/`");
    }
}

#[test]
fn what_a_policy_adds_to_is_spelled_out_in_one_file() {
    let mut all = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut all);
    let faults = scattered(&all);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    for (what, place) in SPELLED_ONCE {
        assert!(all.iter().any(|(path, _)| path == place), "{place} is gone");
        let mut planted = all.clone();
        planted.push(("campaign/live.rs".to_owned(), format!("let it = {what}")));
        assert_eq!(scattered(&planted).len(), 1, "{what}");
        planted.retain(|(path, _)| path == place);
        planted[0].1.clear();
        assert!(scattered(&planted).iter().any(|fault| fault.contains(what)), "{what} is nowhere");
    }
}

#[test]
fn an_import_that_does_not_belong_there_is_told() {
    let graph = |imports: &[(&str, &str)]| {
        let mut graph = Graph::new();
        for (module, code) in imports {
            let names = named(code).into_iter().map(|name| (name, "x.rs".to_owned()));
            graph.entry((*module).to_owned()).or_default().extend(names);
        }
        graph
    };
    let sound = [("campaign", "use crate::{event::{A, B}, id::C};"), ("event", ""), ("id", "")];
    assert_eq!(faults(&graph(&sound)), [""; 0]);
    for (module, code, told) in [
        ("event", "use crate::campaign::A;", "must not know of `campaign`"),
        ("event", "use crate::{id::C, campaign::{A, B}};", "must not know of `campaign`"),
        ("id", "fn f(e: crate::event::E) {}\nuse crate::campaign::A;", "import each other"),
        ("event", "use crate::{FailureReason, id::C};", "`crate::FailureReason` is no module"),
    ] {
        let mut planted = sound.to_vec();
        planted.push((module, code));
        let faults = faults(&graph(&planted)).join("\n");
        assert!(faults.contains(told), "{code}: {faults}");
    }
}
