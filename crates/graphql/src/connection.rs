//! Pages of lists: Relay's connections. A list that is in memory is filtered, sorted and cut here;
//! lists that the engine keeps in order are paged there and only put into this form.

use std::cmp::Ordering;
use std::sync::Arc;

use async_graphql::Value;

use crate::errors::Failure;
use crate::filter::{Filter, compare, value};
use crate::record::{Answer, Ask, Call, Input, Object, Record, text};

/// The most edges of a page; also so many if nobody says how many. More is not refused, but cut.
pub(crate) const LONGEST_PAGE: usize = 250;

/// After so many records others get their turn.
const AT_ONCE: usize = 1_000;

/// A page of a list.
pub(crate) struct Page {
    /// The edges: of each its cursor and its record.
    pub(crate) edges: Vec<(String, Object)>,
    pub(crate) has_previous: bool,
    pub(crate) has_next: bool,
    /// How many there are on all pages; `None`: nobody asked.
    pub(crate) count: Option<usize>,
}

struct Edge(String, Object);

struct PageInfo {
    has_previous: bool,
    has_next: bool,
    start: Option<String>,
    end: Option<String>,
}

impl Record for Page {
    fn type_name(&self) -> &'static str {
        "Connection"
    }

    fn at_hand(&self, field: &str, _: &Ask) -> Option<Answer> {
        Some(match field {
            "count" => self.count.map_or(Answer::NULL, Answer::count),
            "edges" => Answer::objects(
                self.edges.iter().map(|(cursor, record)| Edge(cursor.clone(), record.clone())),
            ),
            "pageInfo" => Answer::object(PageInfo {
                has_previous: self.has_previous,
                has_next: self.has_next,
                start: self.edges.first().map(|(cursor, _)| cursor.clone()),
                end: self.edges.last().map(|(cursor, _)| cursor.clone()),
            }),
            _ => return None,
        })
    }
}

impl Record for Edge {
    fn type_name(&self) -> &'static str {
        "Edge"
    }

    fn at_hand(&self, field: &str, _: &Ask) -> Option<Answer> {
        Some(match field {
            "cursor" => Answer::value(self.0.clone()),
            "node" => Answer::Object(self.1.clone()),
            _ => return None,
        })
    }
}

impl Record for PageInfo {
    fn type_name(&self) -> &'static str {
        "PageInfo"
    }

    fn at_hand(&self, field: &str, _: &Ask) -> Option<Answer> {
        Some(match field {
            "hasPreviousPage" => Answer::value(self.has_previous),
            "hasNextPage" => Answer::value(self.has_next),
            "startCursor" => Answer::text(self.start.as_ref()),
            "endCursor" => Answer::text(self.end.as_ref()),
            _ => return None,
        })
    }
}

impl Page {
    pub(crate) fn empty() -> Self {
        Self { edges: Vec::new(), has_previous: false, has_next: false, count: Some(0) }
    }
}

/// Which page of a list is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) filter: Filter,
    /// By which fields, the first first, and how.
    pub(crate) sort: Vec<(String, Order)>,
    pub(crate) after: Option<String>,
    pub(crate) before: Option<String>,
    /// The most edges.
    pub(crate) most: usize,
    /// Whether they are the last of what there is, and not the first.
    pub(crate) from_end: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    descending: bool,
    nulls_first: bool,
}

impl Wanted {
    /// What the arguments of a list of that type ask for.
    pub(crate) fn read(of: &str, input: Input<'_>) -> Result<Self, Failure> {
        let size = |name| match input.integer::<i64>(name)? {
            Some(size) => {
                usize::try_from(size).map(|size| Some(size.min(LONGEST_PAGE))).map_err(|_| {
                    Failure::invalid_argument(name, "is less than nothing: give 0 or more")
                })
            }
            None => Ok(None),
        };
        let (first, last) = (size("first")?, size("last")?);
        if first.is_some() && last.is_some() {
            return Err(Failure::invalid_argument("last", "give first or last, not both"));
        }
        let cursor = |name| Ok::<_, Failure>(input.text(name)?.map(str::to_owned));
        Ok(Self {
            filter: Filter::of(of, input)?,
            sort: sort(input)?,
            after: cursor("after")?,
            before: cursor("before")?,
            most: first.or(last).unwrap_or(LONGEST_PAGE),
            from_end: last.is_some(),
        })
    }

    /// Whether it begins or ends at a record.
    pub(crate) fn has_cursor(&self) -> bool {
        self.after.is_some() || self.before.is_some()
    }

    /// Whether a list in its own order, read forwards, has it.
    pub(crate) fn is_forwards(&self) -> bool {
        self.sort.is_empty() && self.before.is_none() && !self.from_end
    }
}

fn sort(input: Input<'_>) -> Result<Vec<(String, Order)>, Failure> {
    let given = input.get("sort");
    let one = given.map(std::slice::from_ref).unwrap_or_default();
    let all = if let Some(Value::List(all)) = given { &all[..] } else { one };
    let mut sort = Vec::new();
    for item in all {
        let Value::Object(item) = item else { continue };
        let item = Input(item);
        let order = item.text("order")?.unwrap_or("ASC");
        let descending = order.starts_with("DESC");
        let order = Order {
            descending,
            nulls_first: order.ends_with("FIRST") || (descending && !order.ends_with("LAST")),
        };
        sort.push((camel_case(item.required_text("field")?), order));
    }
    Ok(sort)
}

/// `TARGET_COUNT` as `targetCount`.
fn camel_case(name: &str) -> String {
    let mut words = name.split('_').map(str::to_ascii_lowercase);
    let mut camel = words.next().unwrap_or_default();
    for word in words {
        let (first, rest) = word.split_at(word.len().min(1));
        camel.push_str(&first.to_ascii_uppercase());
        camel.push_str(rest);
    }
    camel
}

/// A page of records that are all at hand, in their own order.
pub(crate) async fn page(
    of: &str,
    records: Vec<Object>,
    call: Call<'_>,
) -> Result<Answer, Failure> {
    let wanted = Wanted::read(of, call.input)?;
    cut(records, &wanted, call).await
}

/// As [`page`], of what is wanted of them.
pub(crate) async fn cut(
    records: Vec<Object>,
    wanted: &Wanted,
    call: Call<'_>,
) -> Result<Answer, Failure> {
    let ask = call.ask;
    // What a cursor names may pass the filter no more: its place in the order is there all the same.
    let all = records.clone();
    let records = filtered_and_sorted(records, &wanted.filter, &wanted.sort, ask).await?;
    let after = place(&all, wanted.after.as_deref(), "after", wanted, ask).await?;
    let from = after.map_or(0, |after| {
        records.partition_point(|one| in_order(&wanted.sort, one, &after).is_le())
    });
    let before = place(&all, wanted.before.as_deref(), "before", wanted, ask).await?;
    let until = before.map_or(records.len(), |before| {
        records.partition_point(|one| in_order(&wanted.sort, one, &before).is_lt())
    });
    let until = until.max(from);
    let (from, until) = if wanted.from_end {
        (until.saturating_sub(wanted.most).max(from), until)
    } else {
        (from, until.min(from.saturating_add(wanted.most)))
    };
    ask.take(until - from)?;
    Ok(Answer::object(Page {
        has_previous: from > 0,
        has_next: until < records.len(),
        count: call.selects(&["count"]).then_some(records.len()),
        edges: records[from..until]
            .iter()
            .map(|(_, _, record)| (id(record, ask), record.clone()))
            .collect(),
    }))
}

/// A plain list, with the arguments `sort`, `filter`, `limit` and `offset`.
pub(crate) async fn plain(
    of: &str,
    records: Vec<Object>,
    call: Call<'_>,
) -> Result<Answer, Failure> {
    let (filter, sort) = (Filter::of(of, call.input)?, sort(call.input)?);
    let size = |name| Ok::<_, Failure>(call.input.integer::<u32>(name)?.map(|size| size as usize));
    let (limit, offset) = (size("limit")?.unwrap_or(usize::MAX), size("offset")?.unwrap_or(0));
    let records = filtered_and_sorted(records, &filter, &sort, call.ask).await?;
    let records: Vec<_> =
        records.into_iter().skip(offset).take(limit).map(|(_, _, record)| record).collect();
    call.ask.take(records.len())?;
    Ok(Answer::Objects(records))
}

/// A record with what it is sorted by: the values of fields, and where it was before.
type Sorted = (Vec<Value>, usize, Object);

async fn filtered_and_sorted(
    records: Vec<Object>,
    filter: &Filter,
    sort: &[(String, Order)],
    ask: &Arc<Ask>,
) -> Result<Vec<Sorted>, Failure> {
    if !filter.is_none() {
        ask.take(records.len())?;
    }
    let mut passed = Vec::new();
    for (number, record) in records.into_iter().enumerate() {
        if number % AT_ONCE == AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
        if filter.is_none() || filter.passes(&record, ask).await? {
            passed.push((keys(&record, sort, ask).await?, number, record));
        }
    }
    if !sort.is_empty() {
        ask.take(passed.len())?;
        passed.sort_by(|left, right| in_order(sort, left, right));
    }
    Ok(passed)
}

/// The values that a record is sorted by.
async fn keys(
    record: &Object,
    sort: &[(String, Order)],
    ask: &Arc<Ask>,
) -> Result<Vec<Value>, Failure> {
    let mut keys = Vec::with_capacity(sort.len());
    for (field, _) in sort {
        let key = value(record, field, ask).await?;
        keys.push(if field == "id" { number_of(key) } else { key });
    }
    Ok(keys)
}

/// An id as what is in it, so that the tenth comes after the second.
fn number_of(id: Value) -> Value {
    let Some((_, key)) = text(&id).and_then(crate::id::parse) else { return id };
    key.parse::<u64>().map_or_else(|_| Value::from(key), Value::from)
}

/// The place of the record that a cursor names.
async fn place(
    all: &[Object],
    cursor: Option<&str>,
    name: &str,
    wanted: &Wanted,
    ask: &Arc<Ask>,
) -> Result<Option<Sorted>, Failure> {
    let Some(cursor) = cursor else { return Ok(None) };
    let Some(number) = all.iter().position(|record| id(record, ask) == cursor) else {
        let why = "the list has no such place: begin it anew";
        return Err(Failure::new("invalid_keyset", why).of(name));
    };
    let record = all[number].clone();
    Ok(Some((keys(&record, &wanted.sort, ask).await?, number, record)))
}

fn in_order(sort: &[(String, Order)], left: &Sorted, right: &Sorted) -> Ordering {
    let orders = sort.iter().zip(left.0.iter().zip(&right.0));
    let orders = orders.map(|((_, order), (left, right))| ordered(*order, left, right));
    orders.fold(Ordering::Equal, Ordering::then).then(left.1.cmp(&right.1))
}

fn ordered(order: Order, left: &Value, right: &Value) -> Ordering {
    let nulls = if order.nulls_first { Ordering::Less } else { Ordering::Greater };
    match (left, right) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => nulls,
        (_, Value::Null) => nulls.reverse(),
        _ => {
            let order_up = compare(left, right).unwrap_or(Ordering::Equal);
            if order.descending { order_up.reverse() } else { order_up }
        }
    }
}

/// The id of a record, which is its cursor too.
pub(crate) fn id(record: &Object, ask: &Ask) -> String {
    match record.at_hand("id", ask) {
        Some(Answer::Value(value)) => text(&value).unwrap_or_default().to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::value;

    use super::*;

    #[test]
    fn sort_fields_are_named_as_the_fields() {
        assert_eq!(camel_case("ID"), "id");
        assert_eq!(camel_case("IN_PROGRESS_TARGET_COUNT"), "inProgressTargetCount");
    }

    #[test]
    fn ids_are_sorted_by_the_numbers_in_them() {
        let key = |id: &str| number_of(Value::from(id));
        let (second, tenth) = (crate::id::global("channel", 2), crate::id::global("channel", 10));
        assert_eq!(compare(&key(&second), &key(&tenth)), Some(Ordering::Less));
        assert_eq!(key("no id"), Value::from("no id"));
        assert_eq!(key(&crate::id::global("tag", "a")), Value::from("a"));
    }

    #[test]
    fn nulls_come_where_they_are_wanted_and_last_if_nobody_says() {
        for (order, null_first) in [
            ("ASC", false),
            ("ASC_NULLS_FIRST", true),
            ("ASC_NULLS_LAST", false),
            ("DESC", true),
            ("DESC_NULLS_FIRST", true),
            ("DESC_NULLS_LAST", false),
        ] {
            let Value::Object(input) = value!({"sort": [{"order": order, "field": "NAME"}]}) else {
                unreachable!()
            };
            let sort = sort(Input(&input)).unwrap();
            let got = ordered(sort[0].1, &Value::Null, &value!("a")) == Ordering::Less;
            assert_eq!(got, null_first, "{order}");
            let up = ordered(sort[0].1, &value!("a"), &value!("b")) == Ordering::Less;
            assert_eq!(up, order.starts_with("ASC"), "{order}");
        }
    }
}
