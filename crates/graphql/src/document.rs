//! Documents are looked through before anything walks them: how deep their text is nested, before it
//! is parsed, and how much they come to with each fragment written out, before it is validated. The
//! parser and the validation recurse over values and follow each spread, so that a small document
//! could use up a stack, or take years.

use std::collections::HashMap;

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, OperationDefinition, OperationType, Selection,
    SelectionSet,
};
use async_graphql::{Pos, Positioned, Request as Question, Response, ServerError};

use crate::api::Limits;

/// How deep brackets may be nested in a document's text.
const DEEPEST: usize = 100;

/// How many selections may lie in one another, through fragments.
const DEEPEST_SELECTION: usize = 128;

/// How many arguments one field may have; the validation compares each with each.
const MOST_ARGUMENTS: usize = 64;

/// How many variables a document may declare; the validation compares each with each use.
const MOST_VARIABLES: usize = 256;

/// A question whose document is one, and within the limits. Only such a question is executed.
pub(crate) struct Checked {
    pub(crate) question: Question,
    /// Whether it subscribes.
    pub(crate) is_subscription: bool,
    /// The name of the only field that it selects at its root; `None`: it selects several.
    pub(crate) root: Option<String>,
}

/// Looks a question's document through; what is refused is the answer.
pub(crate) fn checked(mut question: Question, limits: &Limits) -> Result<Checked, Box<Response>> {
    let document = read(&question.query, limits);
    let document = document.map_err(|error| Box::new(Response::from_errors(vec![error])))?;
    let wanted = wanted(&document, question.operation_name.as_deref());
    let is_subscription =
        wanted.is_some_and(|operation| operation.ty == OperationType::Subscription);
    let root = wanted.and_then(|operation| match &operation.selection_set.node.items[..] {
        [one] => match &one.node {
            Selection::Field(field) => Some(field.node.name.node.to_string()),
            _ => None,
        },
        _ => None,
    });
    question.set_parsed_query(document);
    Ok(Checked { question, is_subscription, root })
}

fn wanted<'a>(
    document: &'a ExecutableDocument,
    name: Option<&str>,
) -> Option<&'a OperationDefinition> {
    let operation = match (&document.operations, name) {
        (DocumentOperations::Single(operation), _) => Some(operation),
        (DocumentOperations::Multiple(all), Some(name)) => all.get(name),
        (DocumentOperations::Multiple(all), None) => all.values().next(),
    };
    operation.map(|operation| &operation.node)
}

fn read(text: &str, limits: &Limits) -> Result<ExecutableDocument, ServerError> {
    if is_too_deep(text) {
        let why = format!("the document is nested deeper than {DEEPEST}: ask for less at once");
        return Err(ServerError::new(why, None));
    }
    let document = parse_query(text)?;
    let variables = document.operations.iter();
    let variables: usize =
        variables.map(|(_, operation)| operation.node.variable_definitions.len()).sum();
    if variables > MOST_VARIABLES {
        let why = format!("the document declares more than {MOST_VARIABLES} variables");
        return Err(ServerError::new(why, None));
    }
    let mut count = Count { document: &document, known: HashMap::new(), most: limits.complexity };
    let mut all = 0_usize;
    for (_, operation) in document.operations.iter() {
        all = all.saturating_add(count.of(&operation.node.selection_set, 0)?);
    }
    count.within(all, Pos::default())?;
    // Those that nothing spreads are validated, too.
    for name in document.fragments.keys() {
        count.fragment(name.as_str(), Pos::default(), 0)?;
    }
    Ok(document)
}

/// Whether brackets are nested too deep outside of strings and comments. Where the text is no
/// document the parser gets no further than this has looked.
fn is_too_deep(text: &str) -> bool {
    let text = text.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'[' | b'{' | b'(' => {
                depth += 1;
                if depth > DEEPEST {
                    return true;
                }
            }
            b']' | b'}' | b')' => depth = depth.saturating_sub(1),
            b'#' => {
                let rest = text[at..].iter();
                at += rest.take_while(|byte| !matches!(byte, b'\n' | b'\r')).count();
            }
            b'"' if text[at..].starts_with(b"\"\"") => match end_of_block(&text[at + 2..]) {
                Some(length) => at += 2 + length,
                // To the parser it is an empty string and the begin of another: none of it is hidden.
                None => at += 1,
            },
            b'"' => {
                while let Some(byte) = text.get(at) {
                    at += 1;
                    match byte {
                        b'\\' => at += 1,
                        b'"' | b'\n' | b'\r' => break,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    false
}

/// How long what is left of a block string is, with its end.
fn end_of_block(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with(b"\\\"\"\"") {
            at += 4;
        } else if text[at..].starts_with(b"\"\"\"") {
            return Some(at + 3);
        } else {
            at += 1;
        }
    }
    None
}

/// Counts fields and spreads, with each fragment written out wherever it is spread, and yet looks at
/// each only once.
struct Count<'a> {
    document: &'a ExecutableDocument,
    /// What fragments come to; `None`: it is being counted.
    known: HashMap<&'a str, Option<usize>>,
    most: usize,
}

impl<'a> Count<'a> {
    fn within(&self, count: usize, at: Pos) -> Result<usize, ServerError> {
        if count <= self.most {
            return Ok(count);
        }
        let most = self.most;
        let why = format!(
            "the document has more than {most} fields, with those of its fragments: ask for less at once"
        );
        Err(ServerError::new(why, Some(at)))
    }

    fn of(
        &mut self,
        set: &'a Positioned<SelectionSet>,
        depth: usize,
    ) -> Result<usize, ServerError> {
        if depth > DEEPEST_SELECTION {
            let why = "the document is nested too deep, with its fragments: ask for less at once";
            return Err(ServerError::new(why, Some(set.pos)));
        }
        let mut count = 0_usize;
        for selection in &set.node.items {
            let inner = match &selection.node {
                Selection::Field(field) => {
                    if field.node.arguments.len() > MOST_ARGUMENTS {
                        let why = format!("a field has more than {MOST_ARGUMENTS} arguments");
                        return Err(ServerError::new(why, Some(field.pos)));
                    }
                    self.of(&field.node.selection_set, depth + 1)?
                }
                Selection::InlineFragment(inline) => {
                    self.of(&inline.node.selection_set, depth + 1)?
                }
                Selection::FragmentSpread(spread) => {
                    self.fragment(spread.node.fragment_name.node.as_str(), spread.pos, depth + 1)?
                }
            };
            count = count.saturating_add(1).saturating_add(inner);
            self.within(count, selection.pos)?;
        }
        Ok(count)
    }

    fn fragment(&mut self, name: &str, at: Pos, depth: usize) -> Result<usize, ServerError> {
        match self.known.get(name) {
            Some(Some(count)) => return Ok(*count),
            Some(None) => {
                let why = format!("the fragment {name:.64?} is spread within itself");
                return Err(ServerError::new(why, Some(at)));
            }
            None => {}
        }
        // One that is not there is found by the validation.
        let Some((name, fragment)) = self.document.fragments.get_key_value(name) else {
            return Ok(0);
        };
        self.known.insert(name.as_str(), None);
        let count = self.of(&fragment.node.selection_set, depth)?;
        self.known.insert(name.as_str(), Some(count));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// What is wrong with a document, found on a stack that is not large.
    fn refused(text: String) -> Option<String> {
        let found = thread::Builder::new().stack_size(512 * 1024).spawn(move || {
            let question = Question::new(text);
            let refused = checked(question, &Limits::default()).err()?;
            Some(refused.errors[0].message.clone())
        });
        found.unwrap().join().unwrap()
    }

    fn nested(open: &str, close: &str, depth: usize) -> String {
        format!("{{ a(x: {}1{}) }}", open.repeat(depth), close.repeat(depth))
    }

    #[test]
    fn a_document_is_nested_only_so_deep_whatever_its_brackets_are() {
        for depth in [101, 1_500, 6_000, 200_000] {
            for text in [
                nested("[", "]", depth),
                nested("{b: ", "}", depth),
                nested("[", "", depth),
                format!("query ($x: {}Int{}) {{ a }}", "[".repeat(depth), "]".repeat(depth)),
                format!("{}a{}", "{a".repeat(depth), "}".repeat(depth)),
                format!("{{ a(x: [\"\"\"b\"{}]) }}", "[".repeat(depth)),
                format!("{{ a(x: [\"\\\"\"{}]) }}", "[".repeat(depth)),
                format!("# a\r{}", nested("[", "]", depth)),
                format!("{{ a(x: [\"\"\" \\\"\"\" \"\"\" {}", "[".repeat(depth)),
            ] {
                let why = refused(text.clone()).unwrap();
                assert!(why.contains("nested deeper"), "{text:.60}: {why}");
            }
        }
    }

    #[test]
    fn brackets_in_strings_and_comments_are_none() {
        let many = "[".repeat(1_000);
        for text in [
            format!("{{ a(x: \"{many}\") }}"),
            format!("{{ a(x: \"\\\"{many}\") }}"),
            format!("{{ a(x: \"\"\"{many} \" \\\"\"\" {many}\"\"\") }}"),
            format!("{{ a # {many}\n }}"),
            nested("[", "]", DEEPEST - 2),
        ] {
            assert_eq!(refused(text.clone()), None, "{text:.60}");
        }
    }

    /// A document whose fragments spread the next one twice.
    fn doubling(depth: usize) -> String {
        let fragments = (0..depth).map(|n| {
            let next = n + 1;
            format!("fragment f{n} on RootQueryType {{ ...f{next} ...f{next} }}")
        });
        let last = format!("fragment f{depth} on RootQueryType {{ __typename }}");
        let all = ["{ ...f0 }".to_owned()].into_iter().chain(fragments).chain([last]);
        all.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn fragments_count_wherever_they_are_spread_and_are_looked_at_once() {
        for depth in [12, 30, 100] {
            let why = refused(doubling(depth)).unwrap();
            assert!(why.contains("more than 4000 fields"), "{depth}: {why}");
        }
        assert_eq!(refused(doubling(8)), None);
        let unused = doubling(30).replace("{ ...f0 }", "{ __typename }");
        assert!(refused(unused).unwrap().contains("more than 4000 fields"));
        let why = refused(doubling(5_000)).unwrap();
        assert!(why.contains("nested too deep"), "{why}");
    }

    #[test]
    fn fragments_in_a_circle_and_documents_that_only_the_validation_would_count_are_refused() {
        let why = refused("{ ...a } fragment a on A { b { ...a } }".to_owned()).unwrap();
        assert!(why.contains("within itself"), "{why}");
        let arguments = (0..65).map(|n| format!("a{n}: 1")).collect::<Vec<_>>().join(" ");
        assert!(refused(format!("{{ a({arguments}) }}")).unwrap().contains("arguments"));
        let variables = (0..257).map(|n| format!("$a{n}: Int")).collect::<Vec<_>>().join(" ");
        assert!(refused(format!("query ({variables}) {{ a }}")).unwrap().contains("variables"));
    }

    #[test]
    fn what_a_document_does_is_told() {
        let told = |text: &str| {
            let checked = checked(Question::new(text), &Limits::default()).unwrap();
            (checked.is_subscription, checked.root)
        };
        assert_eq!(told("{ a b }"), (false, None));
        assert_eq!(told("subscription { b: campaign { a } }"), (true, Some("campaign".to_owned())));
    }
}
