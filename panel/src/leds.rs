//! The box's lights through the kernel's LED class.
//!
//! A light is a folder `/sys/class/leds/NAME` with a file `brightness`, 0 to `max_brightness`
//! (Documentation/leds/leds-class.rst, Linux 6.1).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::screen::Leds;

/// Where the kernel has them.
pub const LEDS_PATH: &str = "/sys/class/leds";

/// Names of the lights, as `ls /sys/class/leds` has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LedNames {
    /// S1: a scan is in progress.
    pub scan: Option<String>,
    /// S2: an update is in progress.
    pub update: Option<String>,
}

/// Lights of the kernel. What can not be lit is told once and tried again at the next change.
#[derive(Debug)]
pub struct KernelLeds {
    lights: Vec<Light>,
}

#[derive(Debug)]
struct Light {
    folder: PathBuf,
    lit: fn(Leds) -> bool,
    shown: Option<bool>,
    told: bool,
}

impl KernelLeds {
    /// The lights with these names below `path`, [`LEDS_PATH`] on a real system.
    pub fn new(path: &Path, names: &LedNames) -> KernelLeds {
        let lit: [fn(Leds) -> bool; 2] = [|leds| leds.scan, |leds| leds.update];
        let lights = [&names.scan, &names.update]
            .into_iter()
            .zip(lit)
            .filter_map(|(name, lit)| {
                Some(Light {
                    folder: path.join(name.as_ref()?),
                    lit,
                    shown: None,
                    told: false,
                })
            });
        KernelLeds {
            lights: lights.collect(),
        }
    }

    /// Lights what is to be lit, if that is another than before.
    pub fn show(&mut self, leds: Leds) {
        for light in &mut self.lights {
            let lit = (light.lit)(leds);
            if light.shown == Some(lit) {
                continue;
            }
            match light.set(lit) {
                Ok(()) => light.shown = Some(lit),
                Err(error) if !light.told => {
                    light.told = true;
                    let folder = light.folder.display();
                    eprintln!("the light {folder} can not be set: {error}; see [panel] leds");
                }
                Err(_) => {}
            }
        }
    }
}

impl Light {
    fn set(&self, lit: bool) -> io::Result<()> {
        let most = fs::read_to_string(self.folder.join("max_brightness"));
        let most = most.unwrap_or_else(|_| "1".to_owned());
        let value = if lit { most.trim() } else { "0" };
        // Only what is there: a misspelt name must not leave a file behind.
        let mut file = fs::File::options()
            .write(true)
            .open(self.folder.join("brightness"))?;
        io::Write::write_all(&mut file, value.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lights_follow_and_one_that_is_not_there_harms_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let light = folder.path().join("box:green:scan");
        fs::create_dir(&light).unwrap();
        fs::write(light.join("max_brightness"), "255\n").unwrap();
        fs::write(light.join("brightness"), "").unwrap();
        let names = LedNames {
            scan: Some("box:green:scan".into()),
            update: Some("nowhere".into()),
        };
        let mut leds = KernelLeds::new(folder.path(), &names);
        let shown = || fs::read_to_string(light.join("brightness")).unwrap();
        let scan = Leds {
            scan: true,
            update: true,
        };
        leds.show(scan);
        assert_eq!(shown(), "255");
        fs::write(light.join("brightness"), "").unwrap();
        leds.show(scan);
        assert_eq!(shown(), "", "no change, no write");
        leds.show(Leds::default());
        assert_eq!(shown(), "0");
        assert!(!folder.path().join("nowhere").exists());
    }
}
