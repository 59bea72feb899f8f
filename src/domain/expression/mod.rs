//! Expressions in CEL, the Common Expression Language: what filters and transforms are written in.
//!
//! An [`Expression`] is compiled and checked once; [`Values`] are an event as expressions see it, converted when the
//! first of them looks and shared by all. Every evaluation has a budget of steps, so that no expression over no event
//! holds up the deliveries of others. This is the only module that names `cel`; errors never repeat what an event says.

mod budget;
mod check;
mod json;
mod meter;
#[cfg(test)]
mod tests;
mod values;

use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::common::ast::IdedExpr;
use cel::common::types::CelBool;
use cel::{Context, Env, ExecutionError};

use budget::{Budget, Pattern};
use values::Scope;

pub use values::Values;
#[cfg(test)]
pub(in crate::domain) use values::conversions;

/// The longest expression in bytes.
pub const SOURCE_MAX: usize = 4096;

/// The steps of one evaluation. A step is an operation, an entry of a list or map that is looked at or copied, or 32
/// bytes of text; so many of them take some milliseconds.
pub const STEPS_MAX: u64 = 100_000;

/// The language: CEL's standard library without optional values, and the functions that keep the budget.
static LANGUAGE: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut language = Env::stdlib().with_optional_support(false);
    budget::declare(&mut language);
    Arc::new(language)
});

/// A compiled expression over the variables `id`, `type`, `time`, `tenant`, `topic`, `key`, `headers` and `data`.
///
/// Texts are strings, `time` is one in RFC 3339 (`timestamp(time)` counts with it), what an event lacks is `null`, and
/// integers in `data` are `int` while other numbers are `double`. A `key` or header that isn't UTF-8 is `bytes`.
pub struct Expression {
    code: IdedExpr,
    /// The regular expressions of `matches`, compiled.
    patterns: Vec<Pattern>,
}

impl Expression {
    /// Compiles an expression and checks everything that can be told without an event.
    ///
    /// # Errors
    /// It is longer than [`SOURCE_MAX`], breaks the syntax, names a variable or function that doesn't exist, is nested
    /// too deeply, or has a regular expression that is wrong, too large, or no literal.
    pub fn compile(source: &str) -> Result<Self, CompileError> {
        if source.len() > SOURCE_MAX {
            return Err(CompileError(format!("is longer than {SOURCE_MAX} bytes")));
        }
        let program = LANGUAGE.compile(source).map_err(|errors| CompileError::syntax(&errors))?;
        check::check(program.expression())
            .map_err(|fault| CompileError::at(source, program.source_info(), &fault))?;
        let mut patterns = Vec::new();
        let code = meter::metered(program.expression().clone(), &mut patterns)
            .map_err(|fault| CompileError::at(source, program.source_info(), &fault))?;
        Ok(Self { code, patterns })
    }

    /// Tells whether the expression is true for an event.
    ///
    /// # Errors
    /// The evaluation failed, ran past its budget, or came to something that is not a boolean.
    pub fn is_true(&self, values: &Values) -> Result<bool, EvaluationError> {
        self.evaluate(values, |value| match value.downcast_ref::<CelBool>() {
            Some(value) => Ok(*value.inner()),
            None => Err(EvaluationError::NotBoolean),
        })
    }

    /// Evaluates the expression and returns what it comes to as JSON, fields in the order of their names.
    ///
    /// Timestamps become RFC 3339, durations seconds as `"1.5s"`, bytes base64, as in Protobuf's JSON form; keys of maps
    /// that are no strings become the text of what they are.
    ///
    /// # Errors
    /// The evaluation failed, ran past its budget, or came to something that JSON can't say.
    pub fn to_json(&self, values: &Values) -> Result<serde_json::Value, EvaluationError> {
        self.evaluate(values, |value| json::of(value).ok_or(EvaluationError::NotJson))
    }

    fn evaluate<T>(
        &self,
        values: &Values,
        read: impl FnOnce(&dyn cel::common::value::Val) -> Result<T, EvaluationError>,
    ) -> Result<T, EvaluationError> {
        let scope = Scope { values, patterns: &self.patterns, budget: Budget::new(STEPS_MAX) };
        let mut context = Context::with_env(LANGUAGE.clone());
        context.set_variable_resolver(&scope);
        let result = cel::Value::resolve_val(&self.code, &context);
        // An error may have been absorbed by `||`: the result then rests on less than was asked.
        if scope.budget.is_spent() {
            return Err(EvaluationError::Budget);
        }
        match result {
            Ok(value) => read(value.as_ref()),
            Err(_) if values.is_data_unfit() => Err(EvaluationError::Data),
            Err(error) => Err(EvaluationError::of(&error)),
        }
    }
}

/// Says nothing: the expression may be a customer's secret recipe, and is long.
impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Expression")
    }
}

/// Why a text is no usable expression: one line, with the place if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError(String);

/// The longest message taken over from the parser, in characters.
const MESSAGE_MAX: usize = 200;

impl CompileError {
    /// Takes the first of the parser's errors; the others mostly follow from it. Its picture of the place stays out.
    fn syntax(errors: &cel::ParseErrors) -> Self {
        let Some(error) = errors.errors.first() else { return Self("is no expression".into()) };
        // Behind this word stands every token there is.
        let message = error.msg.split(" expecting ").next().unwrap_or_default();
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        let message: String =
            message.chars().filter(|c| !c.is_control()).take(MESSAGE_MAX).collect();
        let (line, column) = error.pos;
        Self(format!("line {line} column {column}: {message}"))
    }

    fn at(source: &str, places: &cel::common::ast::SourceInfo, fault: &check::Fault) -> Self {
        let Some((start, _)) = places.offset_for(fault.at) else { return Self(fault.what.clone()) };
        let before: String = source.chars().take(start as usize).collect();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self(format!("line {line} column {column}: {}", fault.what))
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CompileError {}

/// Why an evaluation came to nothing. It says the kind of the problem and repeats nothing of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvaluationError {
    /// A field, key or index doesn't exist.
    Missing,
    /// An operation doesn't go with the values it was given.
    Types,
    /// A value can't be computed: a division by zero, an overflow, a text that is no timestamp.
    Arithmetic,
    /// The budget of steps is used up.
    Budget,
    /// The event's data can't be converted: it is nested too deeply, or has a number that none holds.
    Data,
    /// A filter came to something other than true or false.
    NotBoolean,
    /// A transform came to something that JSON can't say.
    NotJson,
}

impl EvaluationError {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Missing,
        Self::Types,
        Self::Arithmetic,
        Self::Budget,
        Self::Data,
        Self::NotBoolean,
        Self::NotJson,
    ];

    /// Returns the word that stands in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Types => "types",
            Self::Arithmetic => "arithmetic",
            Self::Budget => "budget",
            Self::Data => "data",
            Self::NotBoolean => "not-boolean",
            Self::NotJson => "not-json",
        }
    }

    fn of(error: &ExecutionError) -> Self {
        match error {
            ExecutionError::NoSuchKey(_)
            | ExecutionError::IndexOutOfBounds(_)
            | ExecutionError::UndeclaredReference(_) => Self::Missing,
            ExecutionError::FunctionError { .. }
            | ExecutionError::DivisionByZero(_)
            | ExecutionError::RemainderByZero(_)
            | ExecutionError::Overflow(..)
            | ExecutionError::DuplicateKey(_) => Self::Arithmetic,
            _ => Self::Types,
        }
    }
}

impl fmt::Display for EvaluationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "the event lacks a field, key or entry that the expression names",
            Self::Types => "an operation doesn't go with the types of its values",
            Self::Arithmetic => "a value can't be computed",
            Self::Budget => "the expression takes too many steps for this event",
            Self::Data => {
                "the event's data is nested too deeply, or has a number that is too large"
            }
            Self::NotBoolean => "the expression came to something other than true or false",
            Self::NotJson => "the expression came to something that JSON can't say",
        })
    }
}

impl std::error::Error for EvaluationError {}
