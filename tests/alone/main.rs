//! End-to-end tests that need the machine to themselves: they hold every frame, or its time, against a
//! capture. Test programs run one after the other, so nothing else runs beside these.

#![expect(
    clippy::unwrap_used,
    reason = "whatever a test did not expect is its failure"
)]

mod answers;
mod appliance;
mod capture;
mod crash;
mod fast;
#[path = "../harness/mod.rs"]
mod harness;
mod peer;
mod platform;
mod rate;
mod trunk;

/// Runs `body` in namespaces of its own while no other test of this program runs.
fn alone(test: &str, body: impl FnOnce()) {
    one_at_a_time(|| harness::in_namespace(test, body));
}

/// As [`alone`], for a body that captures. tcpdump started by root becomes another user first, which a user
/// namespace without other users refuses; so an ordinary user is one inside, too, with root's capabilities.
fn capturing(test: &str, body: impl FnOnce()) {
    let user = ["--map-user=1000", "--map-group=1000", "--keep-caps"];
    one_at_a_time(|| {
        if harness::installed(test, &["tcpdump"]) {
            harness::in_namespace_as(test, &user, body);
        }
    });
}

fn one_at_a_time(test: impl FnOnce()) {
    static MACHINE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    // A test that failed has left nothing behind that could disturb the next.
    let _machine = MACHINE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    test();
}
