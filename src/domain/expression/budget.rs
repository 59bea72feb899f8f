//! What rewritten trees call: the budget of steps, and the functions that take from it.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};

use cel::common::types::{
    CelBool, CelBytes, CelInt, CelList, CelMap, CelString, DYN_TYPE, INT_TYPE, STRING_TYPE, Type,
};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::{Env, ExecutionError};
use regex::Regex;

/// The variable in which the budget is.
pub(super) const BUDGET: &str = "@budget";
/// What the variables of patterns start with, before their number.
pub(super) const PATTERN: &str = "@pattern";

/// Pays for all that a value holds.
pub(super) const SIZED: &str = "@sized";
/// Pays for the length of a text, and nothing for what a list or map holds.
pub(super) const FLAT: &str = "@flat";
/// Pays for a loop.
pub(super) const EACH: &str = "@each";
/// `matches` with a compiled pattern.
pub(super) const MATCHES: &str = "@matches";

/// Bytes of text that make a step.
const TEXT_STEP: usize = 32;

/// What an evaluation may still spend.
pub(super) struct Budget(AtomicU64);

static BUDGET_TYPE: Type = Type::new_unspecified_type("budget");

impl Budget {
    pub(super) fn new(steps: u64) -> Self {
        Self(AtomicU64::new(steps))
    }

    /// Tells whether more was asked for than there was.
    pub(super) fn is_spent(&self) -> bool {
        self.left() == 0
    }

    fn left(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes steps. The last one is kept for telling that the budget is used up.
    fn take(&self, steps: u64) -> Result<(), ExecutionError> {
        let left = self.left().saturating_sub(steps);
        self.0.store(left, Ordering::Relaxed);
        if left == 0 { Err(ExecutionError::function_error("budget", "is used up")) } else { Ok(()) }
    }
}

impl std::fmt::Debug for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Budget")
    }
}

impl Val for Budget {
    fn get_type(&self) -> &Type {
        Self::cel_type()
    }

    fn cel_type() -> &'static Type {
        &BUDGET_TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(Self::new(self.left()))
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Budget {}

/// A compiled regular expression.
#[derive(Clone)]
pub(super) struct Pattern(pub(super) Regex);

static PATTERN_TYPE: Type = Type::new_unspecified_type("pattern");

impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pattern")
    }
}

impl Val for Pattern {
    fn get_type(&self) -> &Type {
        Self::cel_type()
    }

    fn cel_type() -> &'static Type {
        &PATTERN_TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Pattern {}

/// Adds the functions that rewritten trees call; their names can't be written in an expression.
pub(super) fn declare(language: &mut Env) {
    let budget = || BUDGET_TYPE.to_owned();
    let declared = [
        language.add_overload(SIZED, "sized", vec![DYN_TYPE, budget()], sized),
        language.add_overload(FLAT, "flat", vec![DYN_TYPE, budget()], flat),
        language.add_overload(EACH, "each", vec![DYN_TYPE, INT_TYPE, budget()], each),
        language.add_overload(
            MATCHES,
            "matched",
            vec![STRING_TYPE, PATTERN_TYPE.to_owned()],
            matched,
        ),
    ];
    assert!(declared.iter().all(Result::is_ok), "nothing of these names is there yet");
}

type Arguments<'b, 'v> = Vec<CowVal<'b, 'v>>;
type Returned<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

fn sized<'b, 'v>(mut arguments: Arguments<'b, 'v>) -> Returned<'b, 'v> {
    let (value, budget) = (arguments[0].as_ref(), budget(&arguments[1]));
    budget.take(size(value, budget.left()))?;
    Ok(arguments.swap_remove(0))
}

fn flat<'b, 'v>(mut arguments: Arguments<'b, 'v>) -> Returned<'b, 'v> {
    let value = arguments[0].as_ref();
    let size = match value.downcast_ref::<CelString>() {
        Some(text) => text_size(text.inner()),
        None => 1,
    };
    budget(&arguments[1]).take(size)?;
    Ok(arguments.swap_remove(0))
}

fn each<'b, 'v>(mut arguments: Arguments<'b, 'v>) -> Returned<'b, 'v> {
    let (range, budget) = (arguments[0].as_ref(), budget(&arguments[2]));
    let body = arguments[1].downcast_ref::<CelInt>().map_or(0, |weight| *weight.inner());
    let entries = range.as_sizer().map_or(0, |range| *range.size().inner());
    let body = body.unsigned_abs().saturating_mul(entries.unsigned_abs());
    budget.take(size(range, budget.left()).saturating_add(body))?;
    Ok(arguments.swap_remove(0))
}

fn matched<'b, 'v>(arguments: Arguments<'b, 'v>) -> Returned<'b, 'v> {
    let text = arguments[0].downcast_ref::<CelString>().expect("the overload takes a string");
    let pattern = arguments[1].downcast_ref::<Pattern>().expect("the overload takes a pattern");
    Ok(CowVal::owned(CelBool::from(pattern.0.is_match(text.inner()))))
}

fn budget<'a>(argument: &'a CowVal) -> &'a Budget {
    argument.as_ref().as_any().and_then(|any| any.downcast_ref()).expect("the overload takes it")
}

fn text_size(text: &str) -> u64 {
    1 + (text.len() / TEXT_STEP) as u64
}

/// Returns the steps that a value counts for, or some number of at least `most`.
fn size(value: &dyn Val, most: u64) -> u64 {
    if let Some(text) = value.downcast_ref::<CelString>() {
        return text_size(text.inner());
    }
    if let Some(bytes) = value.downcast_ref::<CelBytes>() {
        return 1 + (bytes.inner().len() / TEXT_STEP) as u64;
    }
    let mut sum = 1_u64;
    if let Some(list) = value.downcast_ref::<CelList>() {
        for entry in list.inner() {
            if sum >= most {
                return sum;
            }
            sum = sum.saturating_add(size(entry.as_ref(), most - sum));
        }
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        for entry in map.inner().values() {
            if sum >= most {
                return sum;
            }
            sum = sum.saturating_add(1 + size(entry.as_ref(), most - sum));
        }
    }
    sum
}

/// Returns the pattern that a variable names.
pub(super) fn pattern<'p>(patterns: &'p [Pattern], variable: &str) -> Option<&'p Pattern> {
    patterns.get(variable.strip_prefix(PATTERN)?.parse::<usize>().ok()?)
}
