/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the plugins use of QEMU's qemu-plugin.h, which Debian does not ship.
 */
#ifndef DMIRROR_BENCH_PLUGIN_H
#define DMIRROR_BENCH_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

enum qemu_plugin_cb_flags {
	QEMU_PLUGIN_CB_NO_REGS,
};

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
					   void (*callback)(qemu_plugin_id_t id,
							    struct qemu_plugin_tb *tb));
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id,
				    void (*callback)(qemu_plugin_id_t id, void *data),
				    void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
					  void (*callback)(unsigned int cpu, void *data),
					  enum qemu_plugin_cb_flags flags, void *data);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
					    void (*callback)(unsigned int cpu, void *data),
					    enum qemu_plugin_cb_flags flags, void *data);

/* The version of this interface: QEMU up to 8 knows 0 and 1, QEMU from 9 on 2 and up. */
extern const int qemu_plugin_version;
const int qemu_plugin_version = PLUGIN_VERSION;

/* Called by QEMU when it loads the plugin. */
int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv);

#endif
