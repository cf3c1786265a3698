//! The machine it was measured on, by name.

use std::fs;

/// Processor, cores, kernel.
pub(crate) fn describe() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{}, {cores} {}, Linux {}",
        model(&cpuinfo),
        if cores == 1 { "core" } else { "cores" },
        release.trim()
    )
}

/// `model name` of x86; elsewhere the kernel has other names for it, or none.
fn model(cpuinfo: &str) -> &str {
    let field = |name: &str| {
        cpuinfo.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim())
        })
    };
    field("model name")
        .or_else(|| field("Model"))
        .or_else(|| field("CPU part"))
        .unwrap_or("an unnamed processor")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named() {
        let text = "processor\t: 0\nmodel\t\t: 85\nmodel name\t: A Processor @ 2.50GHz\n";
        assert_eq!(model(text), "A Processor @ 2.50GHz");
        assert_eq!(model(""), "an unnamed processor");
    }
}
