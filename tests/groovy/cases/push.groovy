test('push gives digest and references back') { Build build ->
    String repository = suite.repository()
    Map outcome = build.onAgent {
        checkout scm
        ciRegistryPush(source: 'oci:image', to: 'dev', repository: repository, tags: ['1', 'latest'],
                       credentials: [dev: 'dev-login'])
    }
    assert outcome.ok
    assert outcome.digest == setup.digests.image
    assert outcome.references == [setup.registries.dev.host + '/' + repository + '@' + outcome.digest]
    assert suite.digest('dev', repository, '1') == outcome.digest
    assert suite.digest('dev', repository, 'latest') == outcome.digest
}
