//! One scan from request to summary: prepared (refused, or everything is there that it needs), then run.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sonde_core::checkpoint::Checkpoint;
use sonde_core::observation::{OBSERVATION_VERSION, ScanHeader, Summary};
use sonde_core::plan::{Plan, PlanError};
use sonde_core::policy::Policy;
use sonde_core::request::{REQUEST_VERSION, ScanRequest};
use sonde_core::sweep::{GovernorReport, ResumeError, Sweep, SweepConfig};
use sonde_core::time::Instant;
use sonde_link::{FrameLink, LinkCounters};
use uuid::Uuid;

use crate::clock::Clock;
pub use crate::driver::End;
use crate::driver::{Broken, Driver};
use crate::environment::{self, EnvironmentError};
use crate::exchange::{AttemptExchange, Exchange, FrameExchange};
use crate::links::{self, LinkError, OpenLink};
use crate::stop::Stop;
use crate::writer::{Sink, Writer};

/// Our TCP and UDP port is one of these: above what Linux gives to its own connections (to 60,999).
const SOURCE_PORTS: std::ops::Range<u16> = 61_000..65_000;
/// Seeds drawn stay below this: JSON readers that know only doubles read them right.
const SEED_BITS: u32 = 53;

/// Why there is no scan, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The request is of another version.
    #[error("the request has version {0}, this build reads version {REQUEST_VERSION}")]
    Version(u32),
    /// It asks for what this build can not do.
    #[error("identifying services is not in this build; leave --services out")]
    Services,
    /// The machine lacks something, or a target is none.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The request contradicts itself, the trunk or the policy.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// No link.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The checkpoint is not of this request.
    #[error(transparent)]
    Resume(#[from] ResumeError),
    /// The writing thread did not start.
    #[error("the machine gives no thread to write with")]
    Thread(#[source] io::Error),
    /// The link broke on the way.
    #[error("the {link} link broke")]
    Broke {
        /// Which.
        link: String,
        /// How.
        #[source]
        source: io::Error,
    },
    /// The results could not be written.
    #[error("the results can't be written; what was found up to then is")]
    Write(#[source] io::Error),
}

impl ScanError {
    /// True when asking again would end the same: request, plan or policy said no, nothing was sent.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Version(_) | Self::Services | Self::Plan(_) | Self::Resume(_) => true,
            Self::Environment(error) => error.is_refusal(),
            Self::Link(error) => error.is_refusal(),
            Self::Thread(_) | Self::Broke { .. } | Self::Write(_) => false,
        }
    }
}

/// How a scan is run, beside what its request says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Give the sink a checkpoint more than once a second.
    pub checkpoints: bool,
}

/// How a scan ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The scan's id.
    pub id: String,
    /// Why it ended.
    pub end: End,
    /// Its last line.
    pub summary: Summary,
    /// Where it was, when it ended early.
    pub checkpoint: Option<Checkpoint>,
    /// Share of first answers that only came in a later pass; `None` with one pass.
    pub loss: Option<f64>,
    /// What the closed loop saw and did; `None` at a given rate.
    pub governor: Option<GovernorReport>,
    /// Passes over what was missing beyond those asked for, because of loss.
    pub extra_passes: u64,
    /// What the link counted.
    pub link: LinkCounters,
}

/// A scan with everything it needs.
pub struct Scan {
    plan: Arc<Plan>,
    clock: Clock,
    sweep: Sweep,
    source_port: u16,
    /// Secret of this run alone.
    key: [u8; 16],
    link: OpenLink,
    notes: Vec<String>,
}

impl Scan {
    /// Checks the request against this machine and the policy, and opens the link. Sends nothing.
    ///
    /// # Errors
    /// One sentence that names the input and the way out.
    pub fn prepare(request: &ScanRequest, policy: &Policy) -> Result<Self, ScanError> {
        let request = &effective(request)?;
        let names = environment::resolve(request)?;
        let (link, environment, notes) = links::open(request, names)?;
        let plan = Arc::new(Plan::new(request, &environment, policy)?);
        let source_port =
            SOURCE_PORTS.start + (Uuid::new_v4().as_u128() as u16) % SOURCE_PORTS.len() as u16;
        // 122 random bits.
        let key = Uuid::new_v4().into_bytes();
        let config = SweepConfig {
            key,
            source_port,
            closed_loop: plan.loses_nothing(),
            ..SweepConfig::default()
        };
        let clock = Clock::start();
        let sweep = match &request.resume {
            Some(from) => Sweep::resume(Arc::clone(&plan), config, from, clock.now())?,
            None => Sweep::new(Arc::clone(&plan), config, clock.now()),
        };
        Ok(Self {
            plan,
            clock,
            sweep,
            source_port,
            key,
            link,
            notes,
        })
    }

    /// The plan alone, as it would run; opens no link, so it needs no privileges.
    ///
    /// # Errors
    /// As [`Scan::prepare`], but for the link's.
    pub fn plan_only(request: &ScanRequest, policy: &Policy) -> Result<Plan, ScanError> {
        let request = &effective(request)?;
        let names = environment::resolve(request)?;
        let environment = links::environment(request, names)?;
        Ok(Plan::new(request, &environment, policy)?)
    }

    /// What runs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What a person should know before it starts: why not the better link, for one.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The scan in one sentence.
    pub fn describe(&self) -> String {
        let plan = &self.plan;
        format!(
            "{} units in {} segments, {} ports, at most {} probes, over the {}",
            plan.units(),
            plan.segments().len(),
            plan.ports().len(),
            plan.frames_max(),
            self.link.describe(),
        )
    }

    /// Runs the scan to its end, its time limit, or until `stop` is asked. The sink gets the header, every
    /// finding, progress, checkpoints if they are wanted, and the summary.
    ///
    /// # Errors
    /// [`ScanError::Thread`], before anything is sent; [`ScanError::Broke`] or [`ScanError::Write`] on the way.
    pub fn run(
        self,
        sink: Box<dyn Sink>,
        stop: &Stop,
        options: Options,
    ) -> Result<Outcome, ScanError> {
        let Self {
            plan,
            clock,
            mut sweep,
            source_port,
            key,
            link,
            ..
        } = self;
        let captures = sink.captures();
        let link_name = link.describe();
        let broke = |source| ScanError::Broke {
            link: link_name.clone(),
            source,
        };
        let over = |link: Box<dyn FrameLink>, interface: String| {
            let interface = captures.then_some(interface);
            let mut exchange = FrameExchange::new(link, &plan, source_port, interface.as_deref());
            exchange
                .expect(&plan, &sweep, (source_port, key))
                .map_err(broke)?;
            Ok::<_, ScanError>(Box::new(exchange))
        };
        let mut exchange: Box<dyn Exchange> = match link {
            OpenLink::Xdp(link) => {
                let interface = link.interface().to_owned();
                over(link, interface)?
            }
            OpenLink::Xsk(link) => {
                let interface = link.interface().to_owned();
                over(link, interface)?
            }
            OpenLink::Packet(link) => {
                let interface = link.interface().to_owned();
                over(link, interface)?
            }
            OpenLink::Connect(link) => Box::new(AttemptExchange::new(*link)),
        };
        let writer = Writer::start(sink, clock).map_err(ScanError::Thread)?;
        let id = Uuid::now_v7().to_string();
        let header = ScanHeader {
            version: OBSERVATION_VERSION,
            id: id.clone(),
            started: clock.wall(Instant::ZERO),
            request: Box::new(ScanRequest {
                resume: None,
                ..plan.request().clone()
            }),
        };
        let driver = Driver {
            clock,
            stop,
            time_limit: plan.request().max_time_s.map(Duration::from_secs),
            checkpoints: options.checkpoints,
            writer: &writer,
        };
        let ended = driver.run(header, &mut sweep, exchange.as_mut());
        let link = exchange.counters();
        // Taking a program off an interface waits for the kernel; meanwhile the last findings are written.
        drop(exchange);
        let written = writer.finish();
        match ended {
            Ok((end, summary, checkpoint)) => {
                written.map_err(ScanError::Write)?;
                let loss = sweep.counters().loss();
                Ok(Outcome {
                    id,
                    end,
                    summary,
                    checkpoint,
                    loss,
                    governor: sweep.governor(),
                    extra_passes: sweep.counters().extra_passes,
                    link,
                })
            }
            Err(Broken::Link(source)) => Err(ScanError::Broke {
                link: link_name,
                source,
            }),
            Err(Broken::Writer) => Err(ScanError::Write(
                written.err().unwrap_or_else(|| io::ErrorKind::Other.into()),
            )),
        }
    }
}

/// The request as it will run: of this version, within this build's means, with a seed.
fn effective(request: &ScanRequest) -> Result<ScanRequest, ScanError> {
    if request.version != REQUEST_VERSION {
        return Err(ScanError::Version(request.version));
    }
    if request.services {
        return Err(ScanError::Services);
    }
    let drawn = || Uuid::new_v4().as_u128() as u64 & ((1 << SEED_BITS) - 1);
    let of_checkpoint = request.resume.as_ref().map(|checkpoint| checkpoint.seed);
    let seed = request.seed.or(of_checkpoint).unwrap_or_else(drawn);
    Ok(ScanRequest {
        seed: Some(seed),
        ..request.clone()
    })
}
