//! Values by the number of a request. A sorted list: far less code than a map of the standard
//! library, and numbers of requests come in their order.

/// Values, each under the number of a request.
#[derive(Debug)]
pub struct ByRequest<T>(Vec<(u32, T)>);

impl<T> Default for ByRequest<T> {
    fn default() -> ByRequest<T> {
        ByRequest(Vec::new())
    }
}

impl<T> ByRequest<T> {
    /// Puts a value in, in place of one that is there.
    pub fn insert(&mut self, request: u32, value: T) {
        let place = self.place(request);
        if let Ok(place) = place {
            self.0.remove(place);
        }
        let (Ok(place) | Err(place)) = place;
        self.0.insert(place, (request, value));
    }

    /// The value of a request.
    pub fn get_mut(&mut self, request: u32) -> Option<&mut T> {
        let place = self.place(request).ok()?;
        self.0.get_mut(place).map(|(_, value)| value)
    }

    /// Takes the value of a request out.
    pub fn remove(&mut self, request: u32) -> Option<T> {
        let place = self.place(request).ok()?;
        Some(self.0.remove(place).1)
    }

    /// Keeps those of which this is true.
    pub fn retain(&mut self, mut keep: impl FnMut(u32, &mut T) -> bool) {
        self.0.retain_mut(|(request, value)| keep(*request, value));
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn place(&self, request: u32) -> Result<usize, usize> {
        self.0
            .binary_search_by_key(&request, |(request, _)| *request)
    }
}
