;; The least that a filter does that routes by what a request says: it reads the headers, names a
;; cluster, and decides nothing. Without the SDK, with the callbacks of a request that Pointsman has
;; as it ships. A request's headers go to one place of the memory, over those of the one before it.
(module
  (import "env" "proxy_get_header_map_pairs"
    (func $headers (param $map i32) (param $data i32) (param $size i32) (result i32)))
  (import "env" "proxy_add_header_map_value"
    (func $add (param $map i32) (param $name i32) (param $name_size i32)
               (param $value i32) (param $value_size i32) (result i32)))

  (memory (export "memory") 2)
  (data (i32.const 16) "x-pointsman-cluster")
  (data (i32.const 64) "CLUSTER")

  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 65536))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    ;; The proxy writes where they are, and their size. What fails measures nothing.
    (if (call $headers (i32.const 0) (i32.const 0) (i32.const 4)) (then unreachable))
    (if (call $add (i32.const 0) (i32.const 16) (i32.const 19) (i32.const 64) (i32.const SIZE))
      (then unreachable))
    (i32.const 0))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (i32.const 0))
  (func (export "proxy_on_log") (param i32))
  (func (export "proxy_on_delete") (param i32)))
