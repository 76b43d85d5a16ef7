package com.cloudbees.groovy.cps

import java.lang.annotation.Retention
import java.lang.annotation.RetentionPolicy

/** Stands in for Jenkins's annotation of methods that run in one go. */
@Retention(RetentionPolicy.RUNTIME)
@interface NonCPS {
}
