//! Screens, fields and keys as one pure state machine, and the fronts that show it.
