//! The budget of steps: every operation whose work grows with the event pays for it before it is done.
//!
//! The tree is rewritten once, after it was checked: `a + b` becomes `@sized(a, @budget) + @sized(b, @budget)`, where
//! `@sized` takes from the budget what its first argument holds and returns it; the range of a loop pays for its
//! entries and for the loop's body once an entry. What is left out costs the same whatever the event says.

use cel::common::ast::operators::{
    CONDITIONAL, EQUALS, INDEX, LOGICAL_AND, LOGICAL_NOT, LOGICAL_OR, NOT_EQUALS,
    NOT_STRICTLY_FALSE,
};
use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, IdedExpr, LiteralValue,
};
use regex::RegexBuilder;

use super::budget::{BUDGET, EACH, FLAT, MATCHES, PATTERN, Pattern, SIZED};
use super::check::Fault;

/// The most memory that a compiled pattern may take, in bytes.
const PATTERN_MAX: usize = 1 << 18;

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
