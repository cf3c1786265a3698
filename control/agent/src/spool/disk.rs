//! The one place where the spool meets the disk: positional writes and data syncs.
//!
//! [`Uring`] is tokio-uring on the writer's own thread; it has no maintainer, so nothing outside
//! this file knows of it. Where the kernel gives no ring (old, or forbidden by a sandbox),
//! [`Plain`] does the same by `pwrite` and `fdatasync`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Opens segment files. Lives on the writer's thread.
pub trait Disk {
    /// Opens a file for writing, making it if it is not there. The name is not yet durable: sync the
    /// directory.
    ///
    /// # Errors
    /// Those of the operating system.
    fn open(&mut self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
}

/// A segment open for writing.
pub trait DiskFile {
    /// Writes at `offset` and tells how many bytes got there: possibly fewer than given. The buffer
    /// comes back unchanged.
    fn write_at(&mut self, buffer: Vec<u8>, offset: u64) -> (io::Result<usize>, Vec<u8>);

    /// Makes what was written durable.
    ///
    /// # Errors
    /// Those of the operating system. After one, what was written since the last success must be
    /// written again: the kernel may have dropped it.
    fn sync(&mut self) -> io::Result<()>;
}

/// The best disk there is here, and why it is not the ring if it is not. Call it on the thread that
/// will write.
pub fn best() -> (Box<dyn Disk>, Option<io::Error>) {
    match tokio_uring::Runtime::new(&tokio_uring::builder()) {
        Ok(runtime) => (
            Box::new(Uring {
                runtime: std::rc::Rc::new(runtime),
            }),
            None,
        ),
        Err(error) => (Box::new(Plain), Some(error)),
    }
}

/// By io_uring.
pub struct Uring {
    runtime: std::rc::Rc<tokio_uring::Runtime>,
}

impl Disk for Uring {
    fn open(&mut self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = Some(tokio_uring::fs::File::from_std(open(path)?));
        Ok(Box::new(UringFile {
            runtime: self.runtime.clone(),
            file,
        }))
    }
}

struct UringFile {
    runtime: std::rc::Rc<tokio_uring::Runtime>,
    /// `None` only while being dropped.
    file: Option<tokio_uring::fs::File>,
}

impl DiskFile for UringFile {
    fn write_at(&mut self, buffer: Vec<u8>, offset: u64) -> (io::Result<usize>, Vec<u8>) {
        let Some(file) = &self.file else {
            return (Err(io::ErrorKind::NotFound.into()), buffer);
        };
        // Inside the block: submitting needs the runtime's context, and it is there only in here.
        self.runtime
            .block_on(async { file.write_at(buffer, offset).submit().await })
    }

    fn sync(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        self.runtime.block_on(file.sync_data())
    }
}

impl Drop for UringFile {
    /// Closes inside the runtime: outside of it the ring can't be reached.
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            let _closed = self.runtime.block_on(file.close());
        }
    }
}

/// By `pwrite` and `fdatasync`.
pub struct Plain;

impl Disk for Plain {
    fn open(&mut self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(PlainFile(open(path)?)))
    }
}

struct PlainFile(File);

impl DiskFile for PlainFile {
    fn write_at(&mut self, buffer: Vec<u8>, offset: u64) -> (io::Result<usize>, Vec<u8>) {
        (self.0.write_at(&buffer, offset), buffer)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writes_where_it_is_told(mut disk: Box<dyn Disk>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let mut file = disk.open(&path).unwrap();
        let (done, buffer) = file.write_at(b"hello".to_vec(), 0);
        assert_eq!((done.unwrap(), buffer.as_slice()), (5, b"hello".as_slice()));
        let (done, _) = file.write_at(b"p!".to_vec(), 3);
        assert_eq!(done.unwrap(), 2);
        file.sync().unwrap();
        drop(file);
        let mut again = disk.open(&path).unwrap();
        again.write_at(b"H".to_vec(), 0).0.unwrap();
        drop(again);
        assert_eq!(std::fs::read(&path).unwrap(), b"Help!");
    }

    #[test]
    fn plain_writes_where_it_is_told() {
        writes_where_it_is_told(Box::new(Plain));
    }

    #[test]
    fn the_best_disk_writes_where_it_is_told() {
        let (disk, why_not) = best();
        if let Some(error) = why_not {
            eprintln!("SKIPPED the_best_disk_writes_where_it_is_told: no io_uring here ({error})");
            return;
        }
        writes_where_it_is_told(disk);
    }
}
