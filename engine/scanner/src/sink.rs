//! Where a scan's lines end: in files, for `sonde scan`; on stdout, for whoever started a worker.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sonde_core::observation::{Observation, Progress};
use sonde_core::plan::Plan;
use sonde_core::request::ScanRequest;

use crate::checkpoint::{CheckpointFile, OutputMark};
use crate::output::{OutputError, OutputSpec, Outputs};
use crate::report::LineWriter;
pub use crate::writer::Sink;

/// Results to outputs, checkpoints to a file, progress to a display.
pub struct FileSink {
    outputs: Outputs,
    request: ScanRequest,
    checkpoint: Option<PathBuf>,
    progress: Box<dyn FnMut(&Progress) + Send>,
}

impl FileSink {
    /// Opens every output; see [`Outputs::open`] for what `marks` are. Checkpoints go to the file
    /// `checkpoint`, which is tried for being writable.
    ///
    /// # Errors
    /// At the first file that can't be written.
    pub fn open(
        specs: &[OutputSpec],
        marks: &[OutputMark],
        plan: &Plan,
        checkpoint: Option<&Path>,
    ) -> Result<Self, OutputError> {
        if let Some(path) = checkpoint {
            CheckpointFile::try_writing(path).map_err(|source| OutputError::Open {
                path: path.to_path_buf(),
                source,
            })?;
        }
        Ok(Self {
            outputs: Outputs::open(specs, marks)?,
            request: plan.request().clone(),
            checkpoint: checkpoint.map(Path::to_path_buf),
            progress: Box::new(|_| {}),
        })
    }

    /// Calls `show` with every progress line.
    #[must_use]
    pub fn on_progress(mut self, show: Box<dyn FnMut(&Progress) + Send>) -> Self {
        self.progress = show;
        self
    }
}

impl Sink for FileSink {
    fn observation(&mut self, observation: &Observation) -> io::Result<()> {
        match observation {
            Observation::Progress(progress) => {
                (self.progress)(progress);
                Ok(())
            }
            Observation::Checkpoint(checkpoint) => {
                let Some(path) = &self.checkpoint else {
                    return Ok(());
                };
                // What the checkpoint covers is on the disk before the checkpoint is.
                let outputs = self.outputs.sync()?;
                CheckpointFile::new(self.request.clone(), checkpoint.clone(), outputs).write(path)
            }
            result => self.outputs.observation(result),
        }
    }

    fn captures(&self) -> bool {
        self.outputs.captures()
    }

    fn capture(&mut self, blocks: &[u8]) -> io::Result<()> {
        self.outputs.capture(blocks)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.outputs.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        // A display is cleared away before a table is printed in its place.
        self.progress = Box::new(|_| {});
        // Who keeps checkpoints counts on a crash of the machine; else the disk may take its time, as with any command.
        self.outputs.finish(self.checkpoint.is_some())
    }
}

/// Every line to one writer, progress and checkpoints too.
pub struct LineSink<W: Write>(io::BufWriter<W>, LineWriter);

impl<W: Write> LineSink<W> {
    /// A sink that writes to `writer`.
    pub fn new(writer: W) -> Self {
        let out = io::BufWriter::with_capacity(64 << 10, writer);
        Self(out, LineWriter::default())
    }
}

impl<W: Write + Send> Sink for LineSink<W> {
    fn observation(&mut self, observation: &Observation) -> io::Result<()> {
        self.1.write(&mut self.0, observation)
    }

    fn captures(&self) -> bool {
        false
    }

    fn capture(&mut self, _blocks: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
pub(crate) mod lines {
    //! A place to write lines to and read them from.

    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use sonde_core::observation::Observation;

    /// What was written to a [`super::LineSink`].
    #[derive(Clone, Default)]
    pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        pub(crate) fn read(&self) -> Vec<Observation> {
            let bytes = self.0.lock().unwrap();
            let lines = bytes.split_inclusive(|&b| b == b'\n');
            lines
                .map(|line| serde_json::from_slice(line).unwrap())
                .collect()
        }
    }
}
