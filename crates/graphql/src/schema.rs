//! The schema: read from `schema/*.graphql` and from the table of lists, so that what clients may ask
//! for stands in one place and looks as it does to them. How a field is answered is found by its name,
//! at the [`Record`](crate::record::Record) that it is a field of.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_graphql::dynamic::{
    Enum, EnumItem, Field, FieldFuture, FieldValue, InputObject, InputValue, Interface,
    InterfaceField, Object as ObjectType, ResolverContext, Scalar, Schema, Subscription,
    SubscriptionField, SubscriptionFieldFuture, Type, TypeRef, Union,
};
use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{
    BaseType, FieldDefinition, InputValueDefinition, Type as TypeOf, TypeDefinition, TypeKind,
    TypeSystemDefinition,
};
use async_graphql::{ErrorExtensionValues, Positioned, Value};
use futures::StreamExt;

use crate::api::Limits;
use crate::connection::{self, Page};
use crate::errors::Failure;
use crate::lists;
use crate::mutations::Mutation;
use crate::queries::Query;
use crate::record::{Answer, Ask, Call, Input, Object, Related};
use crate::subscriptions;

const QUERY: &str = "RootQueryType";
const MUTATION: &str = "RootMutationType";
const SUBSCRIPTION: &str = "RootSubscriptionType";

/// The schema could not be made of its text: a defect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the schema cannot be made of its text: {0}; this is a defect, please report it")]
pub struct SchemaError(String);

fn sources() -> String {
    [
        include_str!("../schema/campaigns.graphql"),
        include_str!("../schema/catalogue.graphql"),
        include_str!("../schema/device.graphql"),
        &lists::sdl(),
    ]
    .join("\n")
}

/// The schema, with those limits for documents.
pub(crate) fn build(limits: &Limits) -> Result<Schema, SchemaError> {
    let told = |error: &dyn std::fmt::Display| SchemaError(error.to_string());
    let document = parse_schema(sources()).map_err(|error| told(&error))?;
    let definitions: Vec<_> = document
        .definitions
        .into_iter()
        .filter_map(|definition| match definition {
            TypeSystemDefinition::Type(definition) => Some(definition.node),
            _ => None,
        })
        .collect();
    let is_abstract =
        |of: &&TypeDefinition| matches!(of.kind, TypeKind::Interface(_) | TypeKind::Union(_));
    let abstracts = definitions.iter().filter(is_abstract);
    let abstracts: BTreeSet<String> = abstracts.map(|of| of.name.node.to_string()).collect();
    let mut schema = Schema::build(QUERY, Some(MUTATION), Some(SUBSCRIPTION))
        .limit_depth(limits.depth)
        .limit_complexity(limits.complexity)
        .limit_directives(16);
    for definition in definitions {
        schema = schema.register(made(definition, &abstracts).map_err(|error| told(&error))?);
    }
    schema.finish().map_err(|error| told(&error))
}

fn text(description: Option<Positioned<String>>) -> Option<String> {
    description.map(|description| description.node)
}

/// Puts a description on whatever takes one.
macro_rules! described {
    ($to:expr, $description:expr) => {{
        let to = $to;
        match text($description) {
            Some(description) => to.description(description),
            None => to,
        }
    }};
}

fn made(definition: TypeDefinition, abstracts: &BTreeSet<String>) -> Result<Type, SchemaError> {
    let name = definition.name.node.to_string();
    let about = definition.description;
    Ok(match definition.kind {
        TypeKind::Scalar => described!(Scalar::new(name), about).into(),
        TypeKind::Enum(of) => {
            let items = of.values.into_iter().map(|value| {
                described!(EnumItem::new(value.node.value.node.as_str()), value.node.description)
            });
            described!(Enum::new(name).items(items), about).into()
        }
        TypeKind::Union(of) => {
            let members = of.members.into_iter();
            let union = members
                .fold(Union::new(name), |union, member| union.possible_type(member.node.as_str()));
            described!(union, about).into()
        }
        TypeKind::Interface(of) => {
            let fields = of.fields.into_iter().map(|field| {
                InterfaceField::new(field.node.name.node.as_str(), type_of(&field.node.ty.node))
            });
            described!(fields.fold(Interface::new(name), Interface::field), about).into()
        }
        TypeKind::InputObject(of) => {
            let fields = of.fields.into_iter().map(|field| input(field.node));
            described!(fields.fold(InputObject::new(name), InputObject::field), about).into()
        }
        TypeKind::Object(of) if name == SUBSCRIPTION => {
            let fields = of.fields.into_iter().map(|field| subscription(field.node));
            described!(fields.fold(Subscription::new(name), Subscription::field), about).into()
        }
        TypeKind::Object(of) => {
            let mut object = ObjectType::new(name.clone());
            for interface in of.implements {
                object = object.implement(interface.node.as_str());
            }
            for definition in of.fields {
                object = object.field(field(&name, definition.node, abstracts)?);
            }
            described!(object, about).into()
        }
    })
}

fn type_of(ty: &TypeOf) -> TypeRef {
    let inner = match &ty.base {
        BaseType::Named(name) => TypeRef::named(name.as_str()),
        BaseType::List(of) => TypeRef::List(Box::new(type_of(of))),
    };
    if ty.nullable { inner } else { TypeRef::NonNull(Box::new(inner)) }
}

fn input(definition: InputValueDefinition) -> InputValue {
    let input = InputValue::new(definition.name.node.as_str(), type_of(&definition.ty.node));
    let input = described!(input, definition.description);
    match definition.default_value {
        Some(value) => input.default_value(value.node),
        None => input,
    }
}

/// The arguments of connections, which are written down only once.
fn list_arguments(of: &str) -> Result<Vec<InputValueDefinition>, SchemaError> {
    let sdl = format!("type Listed {{ list{}: Int }}", lists::arguments(of));
    let document = parse_schema(sdl).map_err(|error| SchemaError(error.to_string()))?;
    let fields = document.definitions.into_iter().filter_map(|definition| match definition {
        TypeSystemDefinition::Type(definition) => match definition.node.kind {
            TypeKind::Object(of) => Some(of.fields),
            _ => None,
        },
        _ => None,
    });
    let arguments = fields.flatten().flat_map(|field| field.node.arguments);
    Ok(arguments.map(|argument| argument.node).collect())
}

/// How the field is to be answered.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Shape {
    name: String,
    /// Whether it may be null.
    nullable: bool,
    /// Whether it is a list.
    is_list: bool,
    /// The type of what it lists, if it is a connection, or a list of such a type.
    of: Option<&'static str>,
    is_connection: bool,
    /// Whether its objects must say of which type they are.
    is_abstract: bool,
}

fn field(
    parent: &str,
    definition: FieldDefinition,
    abstracts: &BTreeSet<String>,
) -> Result<Field, SchemaError> {
    let name = definition.name.node.to_string();
    let ty = type_of(&definition.ty.node);
    let named = ty.type_name();
    let connected = lists::listed_by(named);
    let listed = lists::LISTS.iter().map(|list| list.of).find(|of| *of == named);
    let shape = Shape {
        name: name.clone(),
        nullable: definition.ty.node.nullable,
        is_list: matches!(definition.ty.node.base, BaseType::List(_)),
        of: connected.or(listed),
        is_connection: connected.is_some(),
        is_abstract: abstracts.contains(named),
    };
    let mut arguments: Vec<_> =
        definition.arguments.into_iter().map(|argument| argument.node).collect();
    if let Some(of) = connected {
        arguments.extend(list_arguments(of)?);
    }
    let root: Option<Object> = match parent {
        QUERY => Some(Arc::new(Query)),
        MUTATION => Some(Arc::new(Mutation)),
        _ => None,
    };
    let field = Field::new(name, ty, move |context| resolved(&shape, root.as_ref(), context));
    let field = described!(field, definition.description);
    Ok(arguments.into_iter().fold(field, |field, argument| field.argument(input(argument))))
}

fn resolved<'a>(
    shape: &Shape,
    root: Option<&Object>,
    context: ResolverContext<'a>,
) -> FieldFuture<'a> {
    let record = root.cloned().or_else(|| context.parent_value.downcast_ref::<Object>().cloned());
    let ask = context.ctx.data::<Arc<Ask>>().ok();
    let (Some(record), Some(ask)) = (record, ask) else {
        return FieldFuture::Value(given(shape, empty(shape)));
    };
    if let Some(answer) = record.at_hand(&shape.name, ask) {
        return FieldFuture::Value(given(shape, answer));
    }
    let shape = shape.clone();
    FieldFuture::new(async move {
        let call =
            Call { ask, input: Input(context.args.as_index_map()), context: Some(context.ctx) };
        match looked_up(&shape, &record, call).await {
            Ok(answer) => Ok(given(&shape, answer)),
            // Where the field may be null, it alone is, and not all that was asked for.
            Err(failure) if shape.nullable => {
                let error = failure.into_server_error(context.ctx.item.pos);
                context.ctx.add_error(context.ctx.set_error_path(error));
                Ok(None)
            }
            Err(failure) => Err(failed(failure)),
        }
    })
}

async fn looked_up(shape: &Shape, record: &Object, call: Call<'_>) -> Result<Answer, Failure> {
    if let Some(found) = record.look_up(&shape.name, call) {
        return found.await;
    }
    let records = match record.related(&shape.name, call.ask) {
        Related::Now(records) => records,
        Related::Later(records) => records.await?,
        Related::NotThis => return Ok(empty(shape)),
    };
    match shape.of {
        Some(of) if shape.is_connection => connection::page(of, records, call).await,
        Some(of) => connection::plain(of, records, call).await,
        None => Ok(Answer::Objects(records)),
    }
}

/// What a field has that nobody answers.
fn empty(shape: &Shape) -> Answer {
    if shape.is_connection {
        Answer::object(Page::empty())
    } else if shape.is_list && !shape.nullable {
        Answer::Objects(Vec::new())
    } else {
        Answer::NULL
    }
}

fn given(shape: &Shape, answer: Answer) -> Option<FieldValue<'static>> {
    let object = |record: Object| {
        let name = record.type_name();
        let value = FieldValue::owned_any(record);
        if shape.is_abstract { value.with_type(name) } else { value }
    };
    match answer {
        Answer::Value(Value::Null) => None,
        Answer::Value(value) => Some(FieldValue::value(value)),
        Answer::Object(record) => Some(object(record)),
        Answer::Objects(records) => Some(FieldValue::list(records.into_iter().map(object))),
    }
}

fn failed(failure: Failure) -> async_graphql::Error {
    let mut extensions = ErrorExtensionValues::default();
    extensions.set("code", failure.code);
    let fields = failure.fields.iter().map(|field| Value::from(field.as_str())).collect();
    extensions.set("fields", Value::List(fields));
    let mut error = async_graphql::Error::new(failure.message);
    error.extensions = Some(extensions);
    error
}

fn subscription(definition: FieldDefinition) -> SubscriptionField {
    let name = definition.name.node.to_string();
    let subject = name.clone();
    let field = SubscriptionField::new(name, type_of(&definition.ty.node), move |context| {
        let subject = subject.clone();
        SubscriptionFieldFuture::new(async move {
            let ask = context.ctx.data::<Arc<Ask>>()?;
            let input = Input(context.args.as_index_map());
            let selects = |name| context.ctx.look_ahead().field(name).exists();
            let selected = subscriptions::Selected {
                created: selects("created"),
                updated: selects("updated"),
                destroyed: selects("destroyed"),
            };
            let events = subscriptions::open(&subject, ask, input, selected).await;
            let events = events.map_err(failed)?;
            if let Ok(opened) = context.ctx.data::<subscriptions::Opened>() {
                opened.tell();
            }
            Ok(events.map(|event| match event {
                Ok(event) => Ok(FieldValue::owned_any(event)),
                Err(failure) => Err(failed(failure)),
            }))
        })
    });
    let field = described!(field, definition.description);
    let arguments = definition.arguments.into_iter();
    arguments.fold(field, |field, argument| field.argument(input(argument.node)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_the_one_that_was_agreed() {
        let schema = build(&Limits::default()).unwrap();
        insta::assert_snapshot!("schema", schema.sdl());
    }

    #[test]
    fn whatever_may_not_be_null_and_is_never_there_is_an_empty_list() {
        let empty_of = |nullable, is_list, is_connection: bool| {
            let name = "field".to_owned();
            let of = is_connection.then_some("Device");
            empty(&Shape { name, nullable, is_list, of, is_connection, is_abstract: false })
        };
        assert!(matches!(empty_of(true, true, false), Answer::Value(Value::Null)));
        assert!(matches!(empty_of(false, true, false), Answer::Objects(all) if all.is_empty()));
        assert!(matches!(empty_of(false, false, true), Answer::Object(_)));
    }
}
