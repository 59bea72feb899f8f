//! What can be told of an expression before there is an event: names, depth, loops within loops.

use cel::common::ast::{ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, IdedExpr};

use super::values::VARIABLES;

/// How deep operations may stand within each other: evaluating them takes the stack.
const DEPTH_MAX: usize = 128;

/// How many loops (`all`, `exists`, `exists_one`, `map`, `filter`) may stand within each other.
const LOOPS_MAX: usize = 2;

/// The longest name that is repeated in an error, in characters.
const NAME_MAX: usize = 64;

/// Names of types, which are values too: `type(data.total) == double`.
const TYPES: [&str; 10] =
    ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];

/// Functions that are called as `size(x)`.
const FUNCTIONS: [&str; 12] = [
    "bool",
    "bytes",
    "double",
    "duration",
    "dyn",
    "int",
    "matches",
    "size",
    "string",
    "timestamp",
    "type",
    "uint",
];

/// Functions that are called as `x.size()`.
const METHODS: [&str; 15] = [
    "contains",
    "endsWith",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "matches",
    "size",
    "startsWith",
];

/// A problem, and the node of the tree at which it stands.
pub(super) struct Fault {
    pub(super) at: u64,
    pub(super) what: String,
}

impl Fault {
    pub(super) fn new(at: &IdedExpr, what: impl Into<String>) -> Self {
        Self { at: at.id, what: what.into() }
    }
}

/// Checks a whole expression.
pub(super) fn check(expression: &IdedExpr) -> Result<(), Fault> {
    Walk { depth: 0, loops: 0, names: Vec::new() }.visit(expression)
}

struct Walk<'e> {
    depth: usize,
    loops: usize,
    /// The variables of the loops around.
    names: Vec<&'e str>,
}

impl<'e> Walk<'e> {
    fn visit(&mut self, node: &'e IdedExpr) -> Result<(), Fault> {
        if self.depth == DEPTH_MAX {
            return Err(Fault::new(node, format!("is nested deeper than {DEPTH_MAX} operations")));
        }
        self.depth += 1;
        self.inside(node)?;
        self.depth -= 1;
        Ok(())
    }

    fn inside(&mut self, node: &'e IdedExpr) -> Result<(), Fault> {
        match &node.expr {
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.name(node, name),
            Expr::Select(select) => self.visit(&select.operand),
            Expr::List(list) => list.elements.iter().try_for_each(|entry| self.visit(entry)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| self.entry(node, entry)),
            Expr::Comprehension(comprehension) => self.comprehension(node, comprehension),
            Expr::Call(call) => {
                let known = match call.target {
                    Some(_) => &METHODS[..],
                    None => &FUNCTIONS[..],
                };
                let name = call.func_name.as_str();
                // The names of operators are none that can be written.
                if is_written(name) && !known.contains(&name) {
                    let what = format!("there is no function `{}` to call so", shown(name));
                    return Err(Fault::new(node, what));
                }
                let operands = call.target.iter().map(|target| &**target).chain(&call.args);
                operands.into_iter().try_for_each(|operand| self.visit(operand))
            }
            Expr::Struct(_) => Err(Fault::new(node, "there are no message types")),
            Expr::Unspecified => Err(Fault::new(node, "is no expression")),
        }
    }

    fn name(&self, node: &IdedExpr, name: &str) -> Result<(), Fault> {
        let known =
            self.names.contains(&name) || VARIABLES.contains(&name) || TYPES.contains(&name);
        if known {
            return Ok(());
        }
        let all = VARIABLES.join(", ");
        Err(Fault::new(node, format!("there is no variable `{}`, only {all}", shown(name))))
    }

    fn entry(&mut self, node: &IdedExpr, entry: &'e IdedEntryExpr) -> Result<(), Fault> {
        match &entry.expr {
            EntryExpr::MapEntry(entry) => {
                self.visit(&entry.key)?;
                self.visit(&entry.value)
            }
            EntryExpr::StructField(_) => Err(Fault::new(node, "there are no message types")),
        }
    }

    fn comprehension(
        &mut self,
        node: &IdedExpr,
        comprehension: &'e ComprehensionExpr,
    ) -> Result<(), Fault> {
        self.visit(&comprehension.iter_range)?;
        self.visit(&comprehension.accu_init)?;
        if self.loops == LOOPS_MAX {
            let what = format!("more than {LOOPS_MAX} loops stand within each other");
            return Err(Fault::new(node, what));
        }
        self.loops += 1;
        let known = self.names.len();
        self.names.push(&comprehension.accu_var);
        self.names.push(&comprehension.iter_var);
        self.names.extend(comprehension.iter_var2.as_deref());
        self.visit(&comprehension.loop_cond)?;
        self.visit(&comprehension.loop_step)?;
        self.visit(&comprehension.result)?;
        self.names.truncate(known);
        self.loops -= 1;
        Ok(())
    }
}

/// Tells a function's name from an operator's, such as `_&&_` or `@in`.
fn is_written(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        || name.starts_with('_') && name[1..].starts_with(|c: char| c.is_ascii_alphanumeric())
}

fn shown(name: &str) -> String {
    name.chars().take(NAME_MAX).flat_map(char::escape_debug).collect()
}
