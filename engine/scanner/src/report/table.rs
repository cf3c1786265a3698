//! For people: one block a VLAN, one line a port, sorted.

use std::io::{self, Write};

use sonde_core::observation::Observation;
use sonde_core::request::PortState;
use sonde_wire::VlanId;

use super::Report;
use super::csv::text;
use super::grouped::{Grouped, Host};

/// Writes a table at the end of the scan.
#[derive(Debug)]
pub struct TableReport<W: Write> {
    out: W,
    colour: bool,
    result: Grouped,
}

impl<W: Write> TableReport<W> {
    /// A report that writes to `writer`, with ANSI colours if `colour`.
    pub fn new(writer: W, colour: bool) -> Self {
        Self {
            out: writer,
            colour,
            result: Grouped::default(),
        }
    }

    fn write_vlan(&mut self, vlan: Option<VlanId>, rows: &[Row]) -> io::Result<()> {
        let (bold, dim, green, plain) = match self.colour {
            true => ("\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[0m"),
            false => ("", "", "", ""),
        };
        match vlan {
            None => writeln!(self.out, "{bold}untagged LAN{plain}")?,
            Some(vlan) => match self.result.vlan_name(vlan) {
                Some(name) => writeln!(self.out, "{bold}VLAN {vlan}{plain} ({name})")?,
                None => writeln!(self.out, "{bold}VLAN {vlan}{plain}")?,
            },
        }
        let titles = ["HOST", "MAC", "PORT", "STATE", "REASON", "RTT"].map(str::to_owned);
        let mut widths = [0; 6];
        for row in std::iter::once(&titles).chain(rows.iter().map(|row| &row.cells)) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.len());
            }
        }
        write!(self.out, "{dim}")?;
        self.write_cells(&titles, &widths)?;
        write!(self.out, "{plain}")?;
        for row in rows {
            let colour = if row.open { green } else { "" };
            write!(self.out, "{colour}")?;
            self.write_cells(&row.cells, &widths)?;
            write!(self.out, "{}", if row.open { plain } else { "" })?;
        }
        writeln!(self.out)
    }

    fn write_cells(&mut self, cells: &[String; 6], widths: &[usize; 6]) -> io::Result<()> {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(widths) {
            line.push_str(&format!("  {cell:<width$}"));
        }
        writeln!(self.out, "{}", line.trim_end())
    }

    fn write_end(&mut self) -> io::Result<()> {
        for leak in &self.result.leaks {
            writeln!(
                self.out,
                "LEAK: {} was asked on {} and answered on {} ({})",
                leak.ip,
                vlan_words(leak.vlan),
                vlan_words(leak.seen_vlan),
                leak.mac
            )?;
        }
        let Some(summary) = &self.result.summary else {
            return Ok(());
        };
        writeln!(
            self.out,
            "{} up, {} open; {} frames sent in {:.1} s{}",
            counted(summary.hosts_up, "host"),
            counted(summary.open, "port"),
            summary.sent,
            summary.duration_ms as f64 / 1000.0,
            if summary.complete {
                ""
            } else {
                "; ended early, this is a part"
            }
        )?;
        if summary.unreachable > 0 {
            let hosts = counted(summary.unreachable, "host");
            writeln!(self.out, "{hosts} not asked: the gateway did not answer")?;
        }
        Ok(())
    }
}

impl<W: Write + Send> Report for TableReport<W> {
    fn observation(&mut self, observation: &Observation) -> io::Result<()> {
        self.result.add(observation);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let hosts = std::mem::take(&mut self.result.hosts);
        let mut block: Option<(Option<VlanId>, Vec<Row>)> = None;
        for ((vlan, ip), host) in hosts {
            if let Some((of, rows)) = block.take_if(|(of, _)| *of != vlan) {
                self.write_vlan(of, &rows)?;
            }
            let (_, rows) = block.get_or_insert_with(|| (vlan, Vec::new()));
            push_rows(rows, &ip.to_string(), &host);
        }
        if let Some((of, rows)) = block {
            self.write_vlan(of, &rows)?;
        }
        self.write_end()?;
        self.out.flush()
    }
}

struct Row {
    cells: [String; 6],
    open: bool,
}

/// A host's lines: its ports, or itself when none is known.
fn push_rows(rows: &mut Vec<Row>, ip: &str, host: &Host) {
    let mut ip = ip.to_owned();
    let mut mac = host.host.as_ref().map(|h| text(&h.mac)).unwrap_or_default();
    if host.ports.is_empty()
        && let Some(up) = &host.host
    {
        let cells = [
            ip,
            mac,
            String::new(),
            text(&up.state),
            text(&up.reason),
            rtt(up.rtt_us),
        ];
        rows.push(Row { cells, open: false });
        return;
    }
    for ((proto, number), port) in &host.ports {
        let cells = [
            std::mem::take(&mut ip),
            std::mem::take(&mut mac),
            format!("{number}/{}", text(proto)),
            text(&port.state),
            text(&port.reason),
            rtt(port.rtt_us),
        ];
        rows.push(Row {
            cells,
            open: port.state == PortState::Open,
        });
    }
}

fn rtt(micros: Option<u64>) -> String {
    micros
        .map(|us| format!("{:.2} ms", us as f64 / 1000.0))
        .unwrap_or_default()
}

fn vlan_words(vlan: Option<VlanId>) -> String {
    vlan.map_or_else(
        || "the untagged LAN".to_owned(),
        |vlan| format!("VLAN {vlan}"),
    )
}

fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::super::{Format, samples};
    use super::*;

    #[test]
    fn sorted_and_grouped_by_vlan() {
        let expected = "\
untagged LAN
  HOST         MAC  PORT    STATE  REASON   RTT
  2001:db8::9       22/tcp  open   syn-ack  1.23 ms

VLAN 100 (servers)
  HOST      MAC                PORT    STATE  REASON     RTT
  10.1.0.9  02:00:00:00:00:09  22/tcp  open   syn-ack    1.23 ms
                               80/tcp  open   syn-ack    1.23 ms
                               53/udp  open   udp-reply  1.23 ms

VLAN 200
  HOST      MAC                PORT     STATE  REASON   RTT
  10.1.0.9  02:00:00:00:00:09  443/tcp  open   syn-ack  1.23 ms

LEAK: 10.1.0.9 was asked on VLAN 100 and answered on VLAN 200 (02:00:00:00:00:09)
3 hosts up, 5 ports open; 65536 frames sent in 8.1 s
";
        assert_eq!(samples::converted(Format::Table), expected);
    }

    #[test]
    fn colour_only_when_asked() {
        let mut out = Vec::new();
        let mut report = TableReport::new(&mut out, true);
        report
            .observation(&samples::host(None, "10.0.0.9"))
            .unwrap();
        report.finish().unwrap();
        assert!(out.contains(&0x1b));
        assert!(!samples::converted(Format::Table).contains('\x1b'));
    }
}
