"""What lets Ray start on a machine that is busy."""

# Ray reads these in every process of its own. What cannot be set are the 30 s that a machine has to
# join a cluster: see `started` in tests/test_distributed.py.
PATIENT_RAY = {
    "RAY_gcs_server_port_wait_time_s": "600",
    "RAY_raylet_start_wait_time_s": "600",
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_gcs_server_request_timeout_seconds": "600",
    "RAY_gcs_rpc_server_connect_timeout_s": "600",
    "RAY_py_gcs_connect_timeout_s": "600",
    "RAY_health_check_timeout_ms": "600000",
}
