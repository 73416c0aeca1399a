//! Operations of atomics that are steps of models and of the torture, where a thread or its process may end.

/// Implements the operations of the `AtomicU64` beside it. Before each comes `step()`, which returns false for a
/// thread that is dead: then nothing is read or written.
macro_rules! stepped_operations {
    () => {
        impl AtomicU64 {
            pub(crate) fn load(&self, order: Ordering) -> u64 {
                if step() { self.0.load(order) } else { 0 }
            }

            pub(crate) fn store(&self, value: u64, order: Ordering) {
                if step() {
                    self.0.store(value, order);
                }
            }

            pub(crate) fn compare_exchange(
                &self,
                current: u64,
                new: u64,
                success: Ordering,
                failure: Ordering,
            ) -> Result<u64, u64> {
                if step() {
                    self.0.compare_exchange(current, new, success, failure)
                } else {
                    Err(0)
                }
            }

            pub(crate) fn compare_exchange_weak(
                &self,
                current: u64,
                new: u64,
                success: Ordering,
                failure: Ordering,
            ) -> Result<u64, u64> {
                if step() {
                    self.0.compare_exchange_weak(current, new, success, failure)
                } else {
                    Err(0)
                }
            }

            pub(crate) fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
                if step() {
                    self.0.fetch_add(value, order)
                } else {
                    0
                }
            }

            pub(crate) fn fetch_sub(&self, value: u64, order: Ordering) -> u64 {
                if step() {
                    self.0.fetch_sub(value, order)
                } else {
                    0
                }
            }

            pub(crate) fn fetch_max(&self, value: u64, order: Ordering) -> u64 {
                if step() {
                    self.0.fetch_max(value, order)
                } else {
                    0
                }
            }
        }
    };
}
pub(crate) use stepped_operations;
