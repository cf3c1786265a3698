//! Screens, fields and keys as one pure state machine, and the fronts that show it.
//!
//! ```text
//! keys, ticks ──┐                                   ┌─> cells, LEDs, cursor ──> front (VT100 here)
//!               ├─> Event ──> Panel::handle ──> Action
//! agent's status┘                 (no clock, no I/O)
//! ```
//!
//! [`panel::Panel`] knows what each screen says and does; it never looks at a clock, a file or a
//! terminal: `now` is an argument, so every flow replays in a test. [`client`] brings the agent's
//! status from its Unix socket, [`vt100`] turns a screen into the bytes that change a terminal, and
//! [`terminal`] ties the three together in the terminal of the person who started it.
//!
//! What a person opens stands as a view on the resting screen: menus, questions, forms of fields, a
//! port's link, notices. Menus and forms are tables. A change of settings leaves whole, by the ENTER
//! that confirms it, and by nothing else. [`flow`] plays the procedures in `panel/flows`, which are
//! text, and everything that happened to a panel can be played again ([`panel::Panel::recording`]).
//!
//! It refuses to show anything but printable ASCII that comes from outside: what the cells can not
//! hold is shown as `?`, so no name or error text can move a cursor or leave the glass.

pub mod client;
pub mod config;
pub mod event;
pub mod faults;
pub mod flow;
pub mod fronts;
pub mod lcdproc;
pub mod leds;
pub mod panel;
pub mod picture;
pub mod screen;
pub mod terminal;
pub mod texts;
pub mod tty;
pub mod vt100;
pub mod wrap;

mod busy;
mod draw;
mod field;
mod form;
mod menu;
mod notice;
mod port_link;
mod prompt;
mod recorder;
mod status;
mod view;
