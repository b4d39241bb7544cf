//! What is kept of a run: a record for each request, and samples in between.

/// The status of a request whose client has left.
pub const LEFT: u16 = 0;

/// What became of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it began, in nanoseconds.
    pub start: u64,
    /// How long the client waited, in nanoseconds.
    pub latency: u64,
    /// Which kind of traffic, as a place in the scenario.
    pub traffic: u16,
    /// The target that answered or was the last to be tried. None: the filter or the proxy
    /// answered.
    pub target: Option<u16>,
    /// What the client got; [`LEFT`] if it left.
    pub status: u16,
    /// How many tries there were beyond the first.
    pub retries: u8,
    /// Whether the filter answered by itself.
    pub own: bool,
}

impl Record {
    /// No answer, or one that says so.
    pub fn is_error(&self) -> bool {
        self.status >= 500
    }

    /// Neither an error nor refused nor left.
    pub fn is_answered(&self) -> bool {
        !self.is_error() && !self.is_refused() && !self.has_left()
    }

    /// Whether a limit refused it.
    pub fn is_refused(&self) -> bool {
        self.own && self.status == 429
    }

    /// Whether the client lost patience.
    pub fn has_left(&self) -> bool {
        self.status == LEFT
    }
}

/// What is seen of the proxy at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// When, in nanoseconds.
    pub at: u64,
    /// Of each target.
    pub targets: Vec<TargetSample>,
}

/// What is seen of one target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetSample {
    /// Requests that are really under way to it.
    pub in_flight: u32,
    /// The same by the filter's own count.
    pub counted: u32,
    /// Tries since the sample before, those that ended and those that began.
    pub asked: u32,
    /// Of them, those that failed: no connection, a lost one, no answer in time, a 5xx.
    pub failed: u32,
}
