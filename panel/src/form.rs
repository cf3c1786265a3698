//! Fields one after the other, and the change they make in the end.

use sonde_protocol::settings::Change;

use crate::field::{Field, Input, Reply, Value, Wanted};
use crate::notice::Notice;
use crate::prompt::Prompt;
use crate::screen::{Glyph, Screen};
use crate::view::{Ask, Context, Step, View};
use crate::wrap::wrap;
pub(crate) use kinds::Kind;

mod kinds;

/// A field and what stands above it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) title: &'static str,
    pub(crate) field: Field,
}

/// Fields being filled in.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    kind: Kind,
    rows: Vec<Row>,
    at: usize,
}

impl Form {
    /// The fields of `kind`, filled with what is set.
    pub(crate) fn new(kind: Kind, context: &Context<'_>) -> Form {
        Form {
            rows: kind.rows(context),
            kind,
            at: 0,
        }
    }

    pub(crate) fn handle_input(&mut self, input: Input, context: &Context<'_>) -> Step {
        let Some(row) = self.rows.get_mut(self.at) else {
            return Step::Quit;
        };
        match row.field.handle_input(input) {
            Reply::Stay => Step::Stay,
            Reply::Quit => Step::Quit,
            Reply::Leave => Step::Open(View::Prompt(Prompt::leave())),
            Reply::Enter => self.confirm(context),
        }
    }

    /// Whether held UP and DOWN go on scrolling here.
    pub(crate) fn repeats(&self) -> bool {
        self.text().is_some_and(|text| text.repeats())
    }

    /// Whether what is entered here is nobody else's business.
    pub(crate) fn is_secret(&self) -> bool {
        self.text().is_some_and(|text| text.is_secret())
    }

    pub(crate) fn draw(&self, screen: &mut Screen) {
        let Some(Row { title, field }) = self.rows.get(self.at) else {
            return;
        };
        match self.text().and_then(|text| text.offered()) {
            Some(offered) => draw_offer(offered, field, screen),
            None => {
                screen.write(0, 0, title);
                let keys = match field {
                    Field::Reading(_) => [Glyph::Enter, Glyph::Right],
                    Field::Scroll(_) => [Glyph::Enter, Glyph::Down],
                    _ => [Glyph::Enter, Glyph::Up],
                };
                screen.indicate(&keys);
                draw_field(field, 1, 0, screen);
            }
        }
    }

    fn text(&self) -> Option<&crate::field::TextField> {
        self.rows.get(self.at).and_then(|row| row.field.text())
    }

    /// The field's value is taken, or the person is told why not and nothing is lost.
    fn confirm(&mut self, context: &Context<'_>) -> Step {
        let wanted = if self.kind == Kind::Vlan {
            Wanted::Vlan
        } else {
            Wanted::Any
        };
        if let Err(complaint) = self.rows[self.at].field.value(wanted) {
            return Step::Open(View::Notice(Notice::complaint(complaint, context.now)));
        }
        if self.at + 1 < self.rows.len() {
            self.at += 1;
            return Step::Stay;
        }
        match self.change(wanted, context) {
            // No tag where none was: nothing to confirm.
            Some(Change::Vlan(None)) if context.setup.settings.vlan.is_none() => Step::Quit,
            Some(change) => match self.kind.question() {
                Some(question) => {
                    Step::Open(View::Prompt(Prompt::question(question, Ask::Apply(change))))
                }
                None => Step::Ask(Ask::Apply(change)),
            },
            None => Step::Quit,
        }
    }

    /// Every field was confirmed, and is checked again: one that changed since is not taken unseen.
    fn change(&mut self, wanted: Wanted, context: &Context<'_>) -> Option<Change> {
        let values: Vec<Value> = self
            .rows
            .iter_mut()
            .map(|row| row.field.value(wanted))
            .collect::<Result<_, _>>()
            .ok()?;
        let kept = self.text().is_some_and(|text| text.is_kept());
        self.kind.change(&values, kept, context)
    }
}

/// A field from `column` of `row` on. Its window moves left when the cursor passes its last cell.
fn draw_field(field: &Field, row: usize, column: usize, screen: &mut Screen) {
    let geometry = screen.geometry();
    let row = row.min(geometry.rows.saturating_sub(1));
    let width = geometry.columns.saturating_sub(column);
    let shown = field.shown();
    let first = shown
        .cursor
        .map_or(0, |cursor| (cursor + 1).saturating_sub(width));
    let window: String = shown.text.chars().skip(first).take(width).collect();
    screen.write(row, column, &window);
    if let Some(cursor) = shown.cursor {
        screen.set_cursor(row, column + cursor - first);
    }
}

/// What insert/delete mode offers, and as much of the field as there is room for beside it.
fn draw_offer(offered: &str, field: &Field, screen: &mut Screen) {
    let geometry = screen.geometry();
    let keys = [Glyph::Enter, Glyph::Down];
    let lines = wrap(
        offered,
        geometry.columns.saturating_sub(keys.len()),
        geometry.columns,
    );
    for (row, line) in lines.iter().enumerate() {
        screen.write(row, 0, line);
    }
    screen.indicate(&keys);
    match lines.last() {
        Some(last) if lines.len() >= geometry.rows => {
            let column = last.len() + 1;
            if column < geometry.columns {
                draw_field(field, lines.len().saturating_sub(1), column, screen);
            }
        }
        _ => draw_field(field, lines.len(), 0, screen),
    }
}

/// Leads to a form: ENTER goes on, UP goes back.
pub(crate) fn opening(kind: Kind, context: &Context<'_>) -> View {
    match kind.opening() {
        Some(question) => View::Prompt(Prompt::opening(question, kind)),
        None => View::Form(Form::new(kind, context)),
    }
}
