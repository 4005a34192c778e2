//! Questions as lines of JSON, each answered by a line: whatever a line holds, the next is read.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

use serde::{Deserialize, Serialize};

use super::question::{Fields, Question};

/// The longest line, in bytes, without its end.
const LONGEST_LINE: usize = 256 * 1024;

/// What a line is known by.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(i64),
}

#[derive(Deserialize)]
struct Identified {
    id: Id,
}

#[derive(Serialize)]
struct Answered {
    id: Id,
    #[serde(flatten)]
    fields: Fields,
}

#[derive(Serialize)]
struct Unanswered {
    id: Option<Id>,
    error: String,
}

/// A line of input.
enum Line<'a> {
    Whole(&'a [u8]),
    /// It was passed over, never held whole.
    TooLong,
}

/// Answers every line; how many could not be answered.
pub(super) fn answer_lines<Q: Question>(input: impl Read, output: impl Write) -> io::Result<u64> {
    let mut input = BufReader::with_capacity(64 * 1024, input);
    let mut output = BufWriter::new(output);
    let mut buffer = Vec::new();
    let mut unanswered = 0;
    while let Some(line) = next_line(&mut input, &mut buffer)? {
        match answer_line::<Q>(&line) {
            Ok(answered) => serde_json::to_writer(&mut output, &answered)?,
            Err(problem) => {
                unanswered += 1;
                serde_json::to_writer(&mut output, &problem)?;
            }
        }
        output.write_all(b"\n")?;
        // Somebody may wait for this answer before asking on.
        if !input.buffer().contains(&b'\n') {
            output.flush()?;
        }
    }
    output.flush()?;
    Ok(unanswered)
}

/// The next line without its end; the last one may have none.
fn next_line<'a>(
    input: &mut impl BufRead,
    buffer: &'a mut Vec<u8>,
) -> io::Result<Option<Line<'a>>> {
    buffer.clear();
    let mut length = 0_usize;
    loop {
        let available = match input.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let end = available.iter().position(|byte| *byte == b'\n');
        let part = available.get(..end.unwrap_or(available.len())).unwrap_or(available);
        length = length.saturating_add(part.len());
        if length <= LONGEST_LINE {
            buffer.extend_from_slice(part);
        }
        let is_end_of_input = available.is_empty();
        let used = part.len() + usize::from(end.is_some());
        input.consume(used);
        if is_end_of_input || end.is_some() {
            return Ok(match length {
                0 if is_end_of_input => None,
                0..=LONGEST_LINE => Some(Line::Whole(buffer)),
                _ => Some(Line::TooLong),
            });
        }
    }
}

fn answer_line<Q: Question>(line: &Line<'_>) -> Result<Answered, Unanswered> {
    let unknown = |error: String| Unanswered { id: None, error };
    let Line::Whole(text) = line else {
        return Err(unknown(format!(
            "the line is longer than {LONGEST_LINE} bytes: give each question a shorter line"
        )));
    };
    // An array would pass as well: its items as the fields in their order.
    match text.trim_ascii_start().first() {
        None => return Err(unknown("the line is blank: give a JSON object".to_owned())),
        Some(b'{') => {}
        Some(_) => return Err(unknown("the line is no JSON object: give one".to_owned())),
    }
    let id = match serde_json::from_slice::<Identified>(text) {
        Ok(Identified { id }) => id,
        Err(error) if error.is_data() => {
            return Err(unknown(format!(
                "the line has no usable `id` ({error}): give one, a text or a whole number"
            )));
        }
        Err(error) => return Err(unknown(format!("the line is no JSON ({error}): correct it"))),
    };
    let question = match serde_json::from_slice::<Q>(text) {
        Ok(question) => question,
        Err(error) => {
            let error = format!("the line asks nothing ({error}): give {}", Q::FIELDS);
            return Err(Unanswered { id: Some(id), error });
        }
    };
    match question.answer() {
        Ok(answer) => Ok(Answered { id, fields: answer.fields }),
        Err(error) => Err(Unanswered { id: Some(id), error }),
    }
}
