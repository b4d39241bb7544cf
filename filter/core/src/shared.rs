//! Records in shared data: `update(key, pure fn)`.
