package org.jenkinsci.plugins.workflow.libs

import java.lang.annotation.Retention
import java.lang.annotation.RetentionPolicy

/** Stands in for the annotation that loads libraries. */
@Retention(RetentionPolicy.RUNTIME)
@interface Library {
    String[] value()
}
