//! The budget of steps: every operation whose work grows with the event pays for it before it is done.
//!
//! The tree is rewritten once, after it was checked: `a + b` becomes `@sized(a, @budget) + @sized(b, @budget)`, where
//! `@sized` takes from the budget what its first argument holds and returns it; the range of a loop pays for its
//! entries and for the loop's body once an entry. What is left out costs the same whatever the event says.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};

use cel::common::ast::operators::{
    CONDITIONAL, EQUALS, INDEX, LOGICAL_AND, LOGICAL_NOT, LOGICAL_OR, NOT_EQUALS,
    NOT_STRICTLY_FALSE,
};
use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, IdedExpr, LiteralValue,
};
use cel::common::types::{
    CelBool, CelBytes, CelInt, CelList, CelMap, CelString, DYN_TYPE, INT_TYPE, STRING_TYPE, Type,
};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::{Env, ExecutionError};
use regex::{Regex, RegexBuilder};

use super::check::Fault;

/// The variable in which the budget is.
pub(super) const BUDGET: &str = "@budget";
/// What the variables of patterns start with, before their number.
pub(super) const PATTERN: &str = "@pattern";

/// Pays for all that a value holds.
const SIZED: &str = "@sized";
/// Pays for the length of a text, and nothing for what a list or map holds.
const FLAT: &str = "@flat";
/// Pays for a loop.
const EACH: &str = "@each";
/// `matches` with a compiled pattern.
const MATCHES: &str = "@matches";

/// Bytes of text that make a step.
const TEXT_STEP: usize = 32;

/// The most memory that a compiled pattern may take, in bytes.
const PATTERN_MAX: usize = 1 << 18;

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
pub(super) struct Pattern(Regex);

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

/// Rewrites a checked tree so that it pays for what it does, and takes its regular expressions out of it.
///
/// # Errors
/// A regular expression is wrong, too large, or no literal.
pub(super) fn metered(node: IdedExpr, patterns: &mut Vec<Pattern>) -> Result<IdedExpr, Fault> {
    let IdedExpr { id, expr } = node;
    let mut meter = |node: IdedExpr| metered(node, patterns);
    let expr = match expr {
        Expr::Call(call) => return metered_call(id, call, patterns),
        Expr::Comprehension(comprehension) => {
            Expr::Comprehension(Box::new(metered_loop(*comprehension, patterns)?))
        }
        Expr::Select(mut select) => {
            select.operand = Box::new(meter(*select.operand)?);
            Expr::Select(select)
        }
        Expr::List(mut list) => {
            let entries = list.elements.into_iter();
            list.elements =
                entries.map(|entry| meter(entry).map(paid)).collect::<Result<_, _>>()?;
            Expr::List(list)
        }
        Expr::Map(mut map) => {
            let entries = map.entries.into_iter();
            map.entries = entries
                .map(|mut entry: IdedEntryExpr| {
                    if let EntryExpr::MapEntry(pair) = &mut entry.expr {
                        pair.key = paid(meter(std::mem::take(&mut pair.key))?);
                        pair.value = paid(meter(std::mem::take(&mut pair.value))?);
                    }
                    Ok(entry)
                })
                .collect::<Result<_, _>>()?;
            Expr::Map(map)
        }
        expr => expr,
    };
    Ok(IdedExpr { id, expr })
}

fn metered_loop(
    mut comprehension: ComprehensionExpr,
    patterns: &mut Vec<Pattern>,
) -> Result<ComprehensionExpr, Fault> {
    let weight = weight(&comprehension.loop_step) + weight(&comprehension.loop_cond);
    let mut meter = |node: IdedExpr| metered(node, patterns);
    let range = meter(comprehension.iter_range)?;
    let id = range.id;
    let weight = IdedExpr { id, expr: Expr::Literal(LiteralValue::Int(weight.into())) };
    comprehension.iter_range = call(EACH, vec![range, weight, variable(id, BUDGET)]);
    comprehension.loop_cond = meter(comprehension.loop_cond)?;
    comprehension.loop_step = meter(comprehension.loop_step)?;
    comprehension.result = meter(comprehension.result)?;
    Ok(comprehension)
}

fn metered_call(
    id: u64,
    mut call: CallExpr,
    patterns: &mut Vec<Pattern>,
) -> Result<IdedExpr, Fault> {
    if call.func_name == "matches" {
        return matching(id, call, patterns);
    }
    let mut meter = |node: IdedExpr| metered(node, patterns);
    call.target = call.target.map(|target| meter(*target).map(Box::new)).transpose()?;
    call.args = call.args.into_iter().map(meter).collect::<Result<_, _>>()?;
    match call.func_name.as_str() {
        CONDITIONAL | LOGICAL_AND | LOGICAL_NOT | LOGICAL_OR | NOT_STRICTLY_FALSE => {}
        // It takes no more than the literal.
        EQUALS | NOT_EQUALS if call.args.iter().any(is_literal) => {}
        INDEX => {
            let index = call.args.pop().expect("an index has two operands");
            call.args.push(paid(index));
        }
        "size" => {
            call.target = call.target.map(|target| Box::new(paid_by(FLAT, *target)));
            call.args = call.args.into_iter().map(|one| paid_by(FLAT, one)).collect();
        }
        _ => {
            call.target = call.target.map(|target| Box::new(paid(*target)));
            call.args = call.args.into_iter().map(paid).collect();
        }
    }
    Ok(IdedExpr { id, expr: Expr::Call(call) })
}

/// Turns `text.matches('…')` into `@matches(text, @pattern0)`.
fn matching(id: u64, call: CallExpr, patterns: &mut Vec<Pattern>) -> Result<IdedExpr, Fault> {
    let at = |what: &str| Fault { at: id, what: what.to_owned() };
    let mut operands = call.target.into_iter().map(|target| *target).chain(call.args);
    let (Some(text), Some(pattern), None) = (operands.next(), operands.next(), operands.next())
    else {
        return Err(at("`matches` takes a text and a regular expression"));
    };
    let Expr::Literal(LiteralValue::String(pattern)) = &pattern.expr else {
        return Err(at("the regular expression of `matches` must be a literal"));
    };
    let regex = RegexBuilder::new(pattern.inner()).size_limit(PATTERN_MAX).build();
    let regex = regex.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => at("the regular expression is too large"),
        _ => at("the regular expression is wrong"),
    })?;
    let variable = variable(id, &format!("{PATTERN}{}", patterns.len()));
    patterns.push(Pattern(regex));
    Ok(self::call(MATCHES, vec![paid(metered(text, patterns)?), variable]))
}

/// Returns the pattern that a variable names.
pub(super) fn pattern<'p>(patterns: &'p [Pattern], variable: &str) -> Option<&'p Pattern> {
    patterns.get(variable.strip_prefix(PATTERN)?.parse::<usize>().ok()?)
}

fn paid(node: IdedExpr) -> IdedExpr {
    paid_by(SIZED, node)
}

/// Lets a function pay for an operand. Literals are paid for by their length; a list or map has paid for its entries
/// when it was put together; what a loop gathers is found by the interpreter only if it stands as it is.
fn paid_by(function: &str, node: IdedExpr) -> IdedExpr {
    let is_free = match &node.expr {
        Expr::Literal(_) | Expr::List(_) | Expr::Map(_) => true,
        Expr::Ident(name) => name.starts_with('@'),
        _ => false,
    };
    if is_free {
        return node;
    }
    let budget = variable(node.id, BUDGET);
    call(function, vec![node, budget])
}

fn is_literal(node: &IdedExpr) -> bool {
    matches!(node.expr, Expr::Literal(_))
}

fn call(function: &str, args: Vec<IdedExpr>) -> IdedExpr {
    let id = args[0].id;
    let call = CallExpr { func_name: function.to_owned(), target: None, args };
    IdedExpr { id, expr: Expr::Call(call) }
}

fn variable(id: u64, name: &str) -> IdedExpr {
    IdedExpr { id, expr: Expr::Ident(name.to_owned()) }
}

/// Returns how many operations a tree has.
fn weight(node: &IdedExpr) -> i64 {
    let entry = |entry: &IdedEntryExpr| match &entry.expr {
        EntryExpr::MapEntry(pair) => weight(&pair.key) + weight(&pair.value),
        EntryExpr::StructField(field) => weight(&field.value),
    };
    1 + match &node.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => 0,
        Expr::Select(select) => weight(&select.operand),
        Expr::List(list) => list.elements.iter().map(weight).sum(),
        Expr::Map(map) => map.entries.iter().map(entry).sum(),
        Expr::Struct(message) => message.entries.iter().map(entry).sum(),
        Expr::Call(call) => {
            let target = call.target.as_deref().map_or(0, weight);
            target + call.args.iter().map(weight).sum::<i64>()
        }
        // What its rounds cost is paid for where it starts.
        Expr::Comprehension(inner) => weight(&inner.iter_range) + weight(&inner.result),
    }
}
