//! The routes compiled: host, then path, then the remaining conditions.
