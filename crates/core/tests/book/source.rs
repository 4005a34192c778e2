//! Reads the documented parts of a type from its source: what stands in the comments of the code
//! is what the book says. Knows no more of Rust than how this project formats it.

/// A field, a variant, or an event, with its documentation.
#[derive(Debug, Default)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// In one line.
    pub(crate) docs: String,
    pub(crate) attributes: String,
    /// What stands behind the name in its line.
    pub(crate) rest: String,
    /// The members within, one level deeper.
    pub(crate) inner: Vec<Member>,
}

/// The members of what begins with the line `header`, with the documentation and attributes
/// above that line.
pub(crate) fn find(source: &str, header: &str) -> Member {
    let lines: Vec<_> = source.lines().collect();
    let at = lines
        .iter()
        .position(|line| line.trim() == header)
        .unwrap_or_else(|| panic!("the line {header:?} is not there any more"));
    let above = lines[..at].iter().rev().take_while(|line| {
        let line = line.trim();
        line.starts_with("///") || line.starts_with("#[")
    });
    let mut found = Member::default();
    for line in above.collect::<Vec<_>>().into_iter().rev() {
        found.describe(line.trim());
    }
    found.inner = members(&mut lines[at + 1..].iter().copied(), 4);
    found
}

impl Member {
    /// Takes a line of documentation or an attribute; others are none of its business.
    fn describe(&mut self, line: &str) {
        if let Some(docs) = line.strip_prefix("///") {
            if !self.docs.is_empty() {
                self.docs.push(' ');
            }
            self.docs += docs.trim();
        } else if line.starts_with("#[") {
            self.attributes += line;
        }
    }
}

/// Reads members at this indentation up to the line that closes them.
fn members<'a>(lines: &mut impl Iterator<Item = &'a str>, indentation: usize) -> Vec<Member> {
    let mut all = Vec::new();
    let mut next = Member::default();
    let mut inside_attribute = false;
    while let Some(line) = lines.next() {
        let text = line.trim();
        if text.is_empty() || inside_attribute {
            inside_attribute = inside_attribute && !text.ends_with(")]");
            continue;
        }
        if line.len() - line.trim_start().len() < indentation {
            break;
        }
        next.describe(text);
        if text.starts_with("//") {
            continue;
        }
        if text.starts_with("#[") {
            inside_attribute = !text.ends_with(']');
            continue;
        }
        let text = text.trim_start_matches("pub ");
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        text[..end].clone_into(&mut next.name);
        text[end..].trim_end_matches(',').clone_into(&mut next.rest);
        if text.ends_with('{') {
            next.inner = members(lines, indentation + 4);
        }
        all.push(std::mem::take(&mut next));
    }
    all
}

#[test]
fn documentation_attributes_and_members_are_read_as_they_are_written() {
    let source = "/// Why it\n/// failed.\n#[serde(rename_all = \"snake_case\")]\npub enum Failure {\n\
                  \x20   /// No report.\n    Timeout,\n    /// Said so (D11).\n    #[error(\n        \"x\"\n    )]\n\
                  \x20   Reported {\n        /// Its code.\n        // A comment.\n        code: Option<u8>,\n    },\n}\n\
                  fn other() {}\n";
    let failure = find(source, "pub enum Failure {");
    assert_eq!(failure.docs, "Why it failed.");
    assert_eq!(failure.attributes, "#[serde(rename_all = \"snake_case\")]");
    let [timeout, reported] = &*failure.inner else { panic!("{failure:?}") };
    assert_eq!((&*timeout.name, &*timeout.docs, &*timeout.rest), ("Timeout", "No report.", ""));
    assert_eq!((&*reported.name, &*reported.docs), ("Reported", "Said so (D11)."));
    let [code] = &*reported.inner else { panic!("{failure:?}") };
    assert_eq!((&*code.name, &*code.docs, &*code.rest), ("code", "Its code.", ": Option<u8>"));
}
